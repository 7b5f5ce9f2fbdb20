"""The block bootstrap of markets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError, DataError
from hitherto.generate.base import Generator
from hitherto.generate.bootstrap import BlockBootstrap


def history(T=50, N=4):
    """Each cell tells its row and column, so that a path can be read back."""
    return (np.arange(T)[:, None] + np.arange(N) / 10) / 1000


def fit(block=7, T=50):
    return BlockBootstrap.fit(history(T), ("a", "b", "c", "d"), 123, block)


@given(st.integers(1, 50), st.integers(0, 10_000))
def test_paths_are_circular_blocks_of_whole_dates(block, seed):
    paths = fit(block).sample(np.random.default_rng(seed), 3)
    assert paths.returns.shape == (3, 50, 4)
    assert (paths.symbols, paths.fitted_until) == (("a", "b", "c", "d"), 123)
    rows = np.round(paths.returns[:, :, 0] * 1000).astype(int)
    assert np.array_equal(paths.returns, history()[rows])  # the cross-section of a date is never torn
    steps = np.diff(rows, axis=1) % 50
    inside = np.arange(1, 50) % block != 0
    assert (steps[:, inside] == 1).all()


def test_the_same_generator_gives_the_same_paths():
    a, b = (fit().sample(np.random.default_rng(5), 4).returns for _ in range(2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, fit().sample(np.random.default_rng(6), 4).returns)


def test_every_row_is_drawn_equally_often():
    # Per path, seven blocks of 7 rows and one of 1 hit a row with chance 7/50 and 1/50: variance 7 x .14 x .86 + .02 =
    # .86, so over 4,000 paths the count is 4,000 with sd 59. Six sd over 50 rows: 50 x 2e-9, no luck to speak of.
    rows = np.round(fit().sample(np.random.default_rng(0), 4000).returns[:, :, 0] * 1000).astype(int)
    counts = np.bincount(rows.ravel(), minlength=50)
    assert np.abs(counts - 4000).max() < 354


def test_it_meets_the_protocol_and_copies_its_history():
    r = history()
    g = BlockBootstrap.fit(r, ("a", "b", "c", "d"), 1, 5)
    assert isinstance(g, Generator)
    before = g.sample(np.random.default_rng(0), 1).returns
    r[:] = 9
    assert np.array_equal(g.sample(np.random.default_rng(0), 1).returns, before)


def test_gaps_stay_gaps_and_nonsense_is_refused():
    r = history()
    r[10, 2] = np.nan
    paths = BlockBootstrap.fit(r, tuple("abcd"), 0, 50).sample(np.random.default_rng(0), 2)
    assert np.isnan(paths.returns).sum() == 2
    r[4] = np.nan
    with pytest.raises(
        DataError, match=r"^bootstrap: row 4 holds no return at all; drop it \(the first bar has none\)$"
    ):
        BlockBootstrap.fit(r, tuple("abcd"), 0)
    r[4], r[7, 1] = 0, np.inf
    with pytest.raises(DataError, match=r"^bootstrap: the return of b at row 7 is inf; correct or drop it$"):
        BlockBootstrap.fit(r, tuple("abcd"), 0)
    with pytest.raises(DataError, match=r"expected \(T, 2\) for these symbols"):
        BlockBootstrap.fit(history(), ("a", "b"), 0)
    with pytest.raises(ConfigError, match=r"^bootstrap: block must lie in 1..50 dates, got 51$"):
        fit(51)
    with pytest.raises(ConfigError, match="number of paths must be >= 1, got 0"):
        fit().sample(np.random.default_rng(0), 0)
