"""Windows: the gather against a sample-by-sample twin, the NaN policy, batches of whole dates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError
from hitherto.features.alpha360 import alpha360
from hitherto.features.base import Affine, Features
from hitherto.features.library import build
from hitherto.labels import forward_return
from hitherto.study import Study
from hitherto.windows import Missing, Windows


def made(seed, T=30, N=5, F=3, holes=0.1, **options):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (T, N, F)).astype(np.float32)
    values[rng.random((T, N, F)) < holes] = np.nan
    label = forward_return(make_panel(T=T, N=N, seed=seed), (1, 2))
    mask = rng.random((T, N)) < 0.8
    return Windows(Features(values, tuple("abc"[:F]), (1,) * F), label, mask, options.pop("lookback", 4), **options)


def slow(w, t, n):
    """One sample, written as the definition reads: rows t-L+1..t, transform, own scale, NaN policy."""
    x = w.features.values[t - w.lookback + 1 : t + 1, n].astype(np.float64)
    if w.affine is not None:
        x = np.clip((x - w.affine.shift) * w.affine.scale, -w.affine.limit, w.affine.limit)
    if w.instance:
        for f in range(x.shape[1]):
            known = x[~np.isnan(x[:, f]), f]
            if len(known):
                flat = known.max() == known.min()
                x[:, f] = (x[:, f] - known.mean()) / (1.0 if flat else known.std())
                x[:, f][(~np.isnan(x[:, f])) & flat] = 0.0
    gaps = np.isnan(x)
    x = np.where(gaps, w.missing.fill, x)
    return np.c_[x, gaps.mean(1)] if w.missing.mask_channel else x


AFFINE = Affine(np.array([0.1, -0.2, 0.3], np.float32), np.array([2.0, 0.5, 1.5], np.float32), 1.2)


@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 40))
def test_every_sample_equals_the_slow_twin(seed, scaled, instance, channel, size):
    w = made(seed, affine=AFFINE if scaled else None, instance=instance, missing=Missing(0.3, 0.5, channel))
    seen = 0
    for b in w.batches(size, np.random.default_rng(seed)):
        assert b.x.shape == (4, len(b.t), w.width)
        assert b.x.dtype == np.float32
        for k, (t, n) in enumerate(zip(b.t, b.n, strict=True)):
            assert np.allclose(b.x[:, k], slow(w, t, n), atol=2e-5)
            assert np.array_equal(b.y[k], w.label.values[t, n].astype(np.float32))
            seen += 1
    assert seen == len(w)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_nan_policy_admits_exactly_what_it_says(seed, share):
    w = made(seed, holes=0.3, missing=Missing(max_share=share))
    L, wanted = w.lookback, []
    for t in range(L - 1, w.mask.shape[0]):
        for n in range(w.mask.shape[1]):
            window = np.isnan(w.features.values[t - L + 1 : t + 1, n])
            if w.mask[t, n] and window.sum() <= share * window.size and np.isfinite(w.label.values[t, n]).all():
                wanted.append((t, n))
    assert w.index.tolist() == [list(x) for x in wanted]


@given(st.integers(0, 1000), st.integers(1, 60))
def test_batches_hold_whole_dates_and_the_last_one_counts(seed, size):
    w = made(seed)
    batches = list(w.batches(size))
    assert sum(len(b.t) for b in batches) == len(w)
    assert all(len(b.t) >= size for b in batches[:-1])
    dates = [t for b in batches for t in set(b.t.tolist())]
    assert len(dates) == len(set(dates))
    assert np.array_equal(np.concatenate([b.t for b in batches]), w.index[:, 0])


def test_shuffling_permutes_dates_only():
    w = made(0)
    ordered = np.concatenate([np.c_[b.t, b.n] for b in w.batches(7)])
    shuffled = np.concatenate([np.c_[b.t, b.n] for b in w.batches(7, np.random.default_rng(1))])
    assert not np.array_equal(ordered, shuffled)
    assert np.array_equal(ordered, shuffled[np.lexsort((shuffled[:, 1], shuffled[:, 0]))])


def test_a_window_never_reads_past_its_row():
    w = made(3)
    changed = w.features.values.copy()
    changed[20:] = 99.0
    other = w.with_(features=Features(changed, w.features.names, w.features.lookbacks))
    early = w.mask.copy()
    early[20:] = False
    a, b = (list(x.with_(mask=early).batches(1000)) for x in (w, other))
    assert np.array_equal(a[0].x, b[0].x)


def test_alpha360_panel_gives_alpha360s_numbers_in_windows():
    panel = make_panel(T=90, N=4, halts=0.03)
    tables = {"set": "alpha360_panel", "vwap": "typical", "normalise": "none"}
    study = Study(panel, features=tables, models=[{"kind": "ridge"}])
    features = study.make_features(panel)
    wanted = build(panel, alpha360("typical"))
    w = Windows(features, None, panel.universe, 60, missing=Missing(1.0, 0.0), labelled=False)
    assert len(w)
    for b in w.batches(1000):
        flat = b.x.transpose(2, 0, 1).reshape(360, -1)  # field by field, oldest first
        truth = wanted.values[b.t, b.n].T
        known = np.isfinite(truth)
        assert np.allclose(flat[known], truth[known], rtol=2e-6)
        assert (flat[~known] == 0).all()
    ranked = Study(panel, features={**tables, "normalise": "cs_rank"}, models=[{"kind": "ridge"}])
    with pytest.raises(ConfigError, match=r"it takes features\.normalise = 'none'"):
        ranked.make_features(panel)


def test_messages():
    w = made(0)
    with pytest.raises(ConfigError, match="windows: lookback must be >= 1, got 0"):
        w.with_(lookback=0)
    with pytest.raises(ConfigError, match="labelled=True needs a label"):
        w.with_(label=None)
    with pytest.raises(ConfigError, match="carry no label"):
        w.with_(label=None, labelled=False).targets()
