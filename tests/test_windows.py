"""Windows: the gather against a sample-by-sample twin, the NaN policy, batches of whole dates."""

import itertools
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

from hitherto import windows
from hitherto.errors import ConfigError
from hitherto.features.alpha360 import alpha360
from hitherto.features.base import Affine, Features, Relative
from hitherto.features.library import build
from hitherto.labels import forward_return
from hitherto.study import Study
from hitherto.windows import Missing, Windows, standardise_windows


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


@pytest.fixture(params=["compiled", "numpy"])
def path(request, monkeypatch):
    """Both ways to gather; NumPy in blocks so small that every batch is cut."""
    if request.param == "numpy":
        monkeypatch.setattr(windows, "_compiled", lambda: None)
        monkeypatch.setattr(windows, "BLOCK", 50)
    else:
        assert windows._compiled() is not None
    return request.param


def exact(w, t, n):
    """One sample in the float32 steps of the definition: what every way to gather must give bit for bit."""
    x = w.features.values[t - w.lookback + 1 : t + 1, n].copy()
    if w.features.relative is not None:
        x = x / (x[-1, list(w.features.relative.by)] + np.array(w.features.relative.eps, np.float32))
    if w.affine is not None:
        x = (x - w.affine.shift) * w.affine.scale
        if np.isfinite(w.affine.limit):
            x = np.clip(x, np.float32(-w.affine.limit), np.float32(w.affine.limit))
    if w.instance:
        x = standardise_windows(np.stack([x, x], 1))[:, 0]
    gaps = np.isnan(x)
    x = np.where(gaps, np.float32(w.missing.fill), x)
    share = np.array([row.sum() / len(row) for row in gaps], np.float32)
    return np.c_[x, share] if w.missing.mask_channel else x


options = st.fixed_dictionaries({
    "affine": st.sampled_from([None, AFFINE, Affine(AFFINE.shift, np.array([np.inf, -0.0, 1e30], np.float32))]),
    "instance": st.booleans(), "missing": st.builds(Missing, st.just(0.6), st.sampled_from([0, -7.3]), st.booleans()),
})  # fmt: skip
relatives = st.sampled_from([None, Relative((2, 2, 2), (0.0, 1e-6, 0.5)), Relative((0, 1, 2), (0.0, 0.0, 0.0))])


@given(st.integers(0, 10_000), options, relatives, st.integers(1, 60))
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_both_ways_to_gather_give_the_bits_of_the_definition(seed, chosen, relative, size):
    w = made(seed, holes=0.2, **chosen)
    w.features.values[5, 2, 1], w.features.values[7, 1, 0], w.features.values[9, 3, 0] = np.inf, -0.0, 0.0
    w = w.with_(features=Features(w.features.values, w.features.names, w.features.lookbacks, relative=relative))
    rows = np.random.default_rng(seed).integers(0, len(w), 37)
    for way in (windows._compiled(), None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(windows, "_compiled", lambda way=way: way)
            patch.setattr(windows, "BLOCK", 50)
            for b in [*w.batches(size, np.random.default_rng(seed)), w.gather_samples(rows)]:
                truth = np.stack([exact(w, t, n) for t, n in zip(b.t, b.n, strict=True)], axis=1)
                assert truth.dtype == b.x.dtype == np.float32
                assert np.array_equal(b.x.view(np.int32), truth.view(np.int32))


@pytest.mark.parametrize("F", [1, 20, 33, 300])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("channel", [False, True])
def test_rows_of_any_width_and_runs_of_any_length(F, relative, channel):
    rng = np.random.default_rng(F)
    x = rng.standard_normal((12, 90, F), dtype=np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    by = Relative(tuple(rng.integers(0, min(F, 3), F).tolist()), (1e-12,) * F) if relative else None
    features = Features(x, tuple(f"f{i}" for i in range(F)), (1,) * F, relative=by)
    affine = Affine(rng.normal(0, 1, F).astype(np.float32), rng.uniform(1, 2, F).astype(np.float32), 2.0)
    missing = Missing(1.0, 0.25, channel)
    w = Windows(features, None, rng.random((12, 90)) < 0.97, 5, affine, missing, labelled=False)
    assert len(w) > 300
    every, some = list(range(len(w.offsets) - 1)), rng.integers(0, len(w), 50)
    compiled = [w.gather(every), w.gather_samples(some)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_compiled", lambda: None)
        plain = [w.gather(every), w.gather_samples(some)]
    for a, b in zip(compiled, plain, strict=True):
        assert np.array_equal(a.x.view(np.int32), b.x.view(np.int32))


@given(st.integers(0, 1000), st.lists(st.integers(0, 60), max_size=30))
def test_random_samples_come_in_the_order_asked_for(seed, rows):
    w = made(seed, affine=AFFINE)
    rows = np.array([r for r in rows if r < len(w)], np.int64)
    b, whole = w.gather_samples(rows), w.gather(list(range(len(w.offsets) - 1)))
    assert np.array_equal(np.c_[b.t, b.n], w.index[rows])
    assert np.array_equal(b.x, whole.x[:, rows])
    assert np.array_equal(b.y, whole.y[rows])
    assert b.blocks[0] == 0
    assert b.blocks[-1] == len(rows)
    runs = [set(b.t[i:j].tolist()) for i, j in zip(b.blocks[:-1], b.blocks[1:], strict=True)]
    assert all(len(r) == 1 for r in runs)
    assert all(r != s for r, s in itertools.pairwise(runs))


def test_tokens_pass_unchanged(path):
    ids = np.random.default_rng(0).integers(0, 5, (30, 6, 4)).astype(np.int32)
    ids[10:14, 2] = 0
    text = Features(ids, tuple("abcd"), (1,) * 4)
    w = Windows(text, None, np.ones((30, 6), bool), 3, missing=Missing(0.5), labelled=False)
    for b in w.batches(10):
        assert b.x.dtype == np.int32
        for k, (t, n) in enumerate(zip(b.t, b.n, strict=True)):
            assert np.array_equal(b.x[:, k], ids[t - 2 : t + 1, n])
    empty = np.array([[(ids[max(t - 2, 0) : t + 1, n] == 0).all(1).sum() * 4 for n in range(6)] for t in range(30)])
    assert np.array_equal(w.holes, empty)
    assert [12, 2] not in w.index.tolist()


def test_panels_that_the_compiled_gather_does_not_take_are_right_too(path):
    w = made(0, affine=AFFINE)
    truth = w.gather([0, 1, 2]).x
    v, f = w.features.values, w.features
    turned = w.with_(features=Features(np.asfortranarray(v), f.names, f.lookbacks))
    assert np.array_equal(turned.gather([0, 1, 2]).x, truth)
    frozen = v.copy()
    frozen.flags.writeable = False
    assert np.array_equal(w.with_(features=Features(frozen, f.names, f.lookbacks)).gather([0, 1, 2]).x, truth)
    one = w.with_(affine=Affine(np.array([0.1], np.float32), np.array([2.0], np.float32)))
    assert np.array_equal(
        one.gather([0]).x, w.with_(affine=Affine(np.full(3, 0.1, "f4"), np.full(3, 2, "f4"))).gather([0]).x
    )


@given(st.integers(0, 1000), st.integers(1, 200), st.integers(1, 33), st.booleans())
def test_the_index_does_not_depend_on_how_the_panel_is_read(seed, stretch, lookback, related):
    w = made(seed, holes=0.3, lookback=lookback)
    rows = np.random.default_rng(seed).integers(0, 30, 2)
    w.mask[: rows.min()], w.mask[rows.max() :] = False, False
    relative = Relative((2, 2, 0), (0.0, 0.0, 0.0)) if related else None
    w = w.with_(features=Features(w.features.values, w.features.names, w.features.lookbacks, relative=relative))
    gaps = np.isnan(w.features.values).sum(2)
    holes = np.array([gaps[max(t - lookback + 1, 0) : t + 1].sum(0) for t in range(30)])
    ok = w.mask & (holes <= 0.2 * lookback * 3) & np.isfinite(w.label.values).all(2)
    ok[: lookback - 1] = False
    if related:
        ok &= np.isfinite(w.features.values[:, :, [0, 2]]).all(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "STRETCH", stretch)
        assert np.array_equal(w.holes, holes)
        assert w.holes.dtype == w.index.dtype == np.int32
        assert w.index.tolist() == np.argwhere(ok).tolist()


def test_many_features_are_counted_right():
    gap = np.random.default_rng(0).random((3, 4, 700)) < 0.9  # more than a byte counts to
    assert np.array_equal(windows._count(gap), gap.sum(2))


def on_disk(folder, T=400, N=100, F=24):
    """A panel of 3.8 MB in memory and the same one on disk."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, N, F), dtype=np.float32)
    x[rng.random(x.shape) < 0.03] = np.nan
    np.save(folder / "x.npy", x)
    affine = Affine(rng.normal(0, 1, F).astype(np.float32), rng.uniform(1, 2, F).astype(np.float32), 3.0)
    names = tuple(f"f{i}" for i in range(F))
    held = Windows(Features(x, names, (1,) * F), None, np.ones((T, N), bool), 20, affine, labelled=False)
    return held, held.with_(features=Features(np.load(folder / "x.npy", mmap_mode="r"), names, (1,) * F))


@pytest.mark.parametrize("extra", [{}, {"instance": True}, {"missing": Missing(0.5, 0.0, True)}])
def test_a_panel_on_disk_gives_the_same_bits_and_is_never_loaded(tmp_path, monkeypatch, path, extra):
    monkeypatch.setattr(windows, "STRETCH", 1 << 16)
    monkeypatch.setattr(windows, "BLOCK", 1 << 14)
    held, lazy = (w.with_(**extra) for w in on_disk(tmp_path))
    size = held.features.values.nbytes
    lazy.gather_samples(np.arange(3))  # compiles, and makes an index that is not measured below
    lazy = lazy.with_()
    tracemalloc.start()
    try:
        assert len(lazy)
        indexed = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before, largest = tracemalloc.get_traced_memory()[0], 0
        for b in lazy.batches(100, np.random.default_rng(1)):
            largest = max(largest, b.x.nbytes)
            del b
        epoch = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert indexed < 4 * lazy.index.nbytes < size / 3  # a mask of the whole panel would be size / 4 more
    assert largest < epoch < 1.1 * largest + 6 * 8 * (1 << 14) + 100_000
    for a, b in zip(*(w.batches(100, np.random.default_rng(1)) for w in (held, lazy)), strict=True):
        assert np.array_equal(a.x, b.x)
        assert np.array_equal(a.blocks, b.blocks)


def test_without_numba_the_bits_are_the_same(tmp_path):
    held, _ = on_disk(tmp_path, T=40, N=30)
    np.savez(tmp_path / "held.npz", x=held.gather([0, 3]).x, shift=held.affine.shift, scale=held.affine.scale)
    code = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None
import numpy as np
from hitherto import windows
from hitherto.features.base import Affine, Features
x, kept = np.load(sys.argv[1] + "/x.npy"), np.load(sys.argv[1] + "/held.npz")
T, N, F = x.shape
affine = Affine(kept["shift"], kept["scale"], 3.0)
features = Features(x, tuple("abcdefghijklmnopqrstuvwx"), (1,) * F)
w = windows.Windows(features, None, np.ones((T, N), bool), 20, affine, labelled=False)
print(windows._compiled(), np.array_equal(w.gather([0, 3]).x, kept["x"]), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None True False", done.stderr


def test_messages():
    w = made(0)
    with pytest.raises(
        ConfigError, match=rf"^windows: sample -1 was asked for, there are {len(w)}; give rows of index\.$"
    ):
        w.gather_samples(np.array([0, -1]))
    with pytest.raises(ConfigError, match=f"windows: sample {len(w)} was asked for"):
        w.gather_samples(np.array([len(w)]))
    with pytest.raises(ConfigError, match="windows: lookback must be >= 1, got 0"):
        w.with_(lookback=0)
    with pytest.raises(ConfigError, match="labelled=True needs a label"):
        w.with_(label=None)
    with pytest.raises(ConfigError, match="carry no label"):
        w.with_(label=None, labelled=False).targets()
    with pytest.raises(
        ConfigError, match=r"^windows: the mask is for \(T, N\) = \(29, 5\), the features for \(30, 5\)\.$"
    ):
        w.with_(mask=w.mask[1:]).index
    with pytest.raises(ConfigError, match=r"the label is for \(T, N\) = \(40, 5\), the features for \(30, 5\)\.$"):
        w.with_(label=made(0, T=40).label).index
