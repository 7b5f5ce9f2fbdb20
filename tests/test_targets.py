"""Targets per date: oracles, properties and messages."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from hitherto.errors import ConfigError, DataError
from hitherto.models.targets import check_neighbours, date_standardise

BLOCKS = np.array([0, 4, 5, 12, 12, 15])


def sample(dtype=np.float64, ties=False):
    y = np.random.default_rng(0).normal(0, 0.02, (15, 2)).astype(dtype)
    return np.round(y, 2) if ties else y


def by_date(y, f):
    out = np.zeros_like(y)
    for a, b in pairwise(BLOCKS):
        for o in range(y.shape[1]):
            v = y[a:b, o]
            out[a:b, o] = f(v) if len(v) > 1 and v.max() > v.min() else 0
    return out


def test_zscore_equals_scipy_per_date():
    y = sample()
    assert np.allclose(date_standardise(y, BLOCKS, "cs_zscore"), by_date(y, stats.zscore), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_equals_scipy_per_date_with_ties_averaged(ties):
    y = sample(ties=ties)
    assert (len(np.unique(y[5:12, 0])) < 7) == ties
    want = by_date(y, lambda v: np.sqrt(12) * ((stats.rankdata(v) - 0.5) / len(v) - 0.5))
    assert np.allclose(date_standardise(y, BLOCKS, "cs_rank"), want, rtol=1e-13, atol=1e-14)


def test_rank_by_hand():
    y = np.array([[3.0], [1.0], [1.0], [9.0]])
    # ranks 3 1.5 1.5 4 -> (2.5 1 1 3.5) / 4 - 1/2
    want = np.sqrt(12) * np.array([[0.125], [-0.25], [-0.25], [0.375]])
    assert np.array_equal(date_standardise(y, np.array([0, 4]), "cs_rank"), want)


@pytest.mark.parametrize("kind", ["raw", "cs_zscore", "cs_rank"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_stays_and_the_input_is_not_changed(kind, dtype):
    y = sample(dtype)
    before = y.copy()
    out = date_standardise(y, BLOCKS, kind)
    assert out.dtype == dtype
    assert out is not y
    assert np.array_equal(y, before)


@pytest.mark.parametrize("kind", ["cs_zscore", "cs_rank"])
def test_a_lone_sample_and_a_flat_date_become_zero(kind):
    y = np.array([[0.1], [0.1], [0.1], [0.3], [np.nan], [0.7]])
    out = date_standardise(y, np.array([0, 3, 4, 6]), kind)
    assert np.array_equal(out, [[0], [0], [0], [0], [np.nan], [0]], equal_nan=True)


@pytest.mark.parametrize("kind", ["cs_zscore", "cs_rank"])
def test_unknown_entries_take_no_part(kind):
    y = sample()
    holed = np.insert(y, [2, 7, 15], np.array([[np.nan], [np.inf], [-np.inf]]), axis=0)
    blocks = np.array([0, 5, 6, 14, 14, 18])
    out = date_standardise(holed, blocks, kind)
    lost = np.isnan(out).all(1)
    assert lost.sum() == 3
    assert np.array_equal(out[~lost], date_standardise(y, BLOCKS, kind))


values = hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(-1e6, 1e6))


@given(values, values, st.sampled_from(["cs_zscore", "cs_rank"]))
def test_a_date_does_not_see_its_neighbours(a, b, kind):
    b = np.resize(b, (len(b), a.shape[1]))
    both = date_standardise(np.concatenate([b, a]), np.array([0, len(b), len(b) + len(a)]), kind)
    assert np.array_equal(both[len(b) :], date_standardise(a, np.array([0, len(a)]), kind))


@given(values, st.integers(0, 1000))
def test_rank_knows_only_the_order_and_is_equivariant(y, seed):
    one = np.array([0, len(y)])
    out = date_standardise(y, one, "cs_rank")
    p = np.random.default_rng(seed).permutation(len(y))
    assert np.array_equal(date_standardise(y[p], one, "cs_rank"), out[p])
    assert np.array_equal(date_standardise(y * 4, one, "cs_rank"), out)
    assert np.abs(out.mean(0)).max() < 1e-12


def test_messages():
    with pytest.raises(ConfigError) as e:
        date_standardise(sample(), BLOCKS, "zscore")  # type: ignore[arg-type]
    assert str(e.value) == "date_standardise: target must be one of raw, cs_zscore, cs_rank, got 'zscore'"
    with pytest.raises(DataError) as d:
        date_standardise(sample(), np.array([0, 4]), "cs_rank")
    assert str(d.value) == (
        "date_standardise: y has shape (15, 2), the blocks must rise from 0 to its number of rows; "
        "pass Batch.y and Batch.blocks of one batch"
    )


def test_a_target_within_dates_needs_neighbours():
    check_neighbours("cs_rank", np.array([0, 1, 3, 4]), "net")
    check_neighbours("raw", np.array([0, 1, 2]), "net")
    check_neighbours("cs_rank", np.array([0]), "net")
    with pytest.raises(DataError) as error:
        check_neighbours("cs_zscore", np.array([0, 1, 2]), "net")
    assert str(error.value) == (
        "net: target 'cs_zscore' compares the names of a date, but every date here has one name; use target = 'raw'"
    )
