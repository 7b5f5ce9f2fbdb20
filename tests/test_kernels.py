"""The compiled kernels against the slow operators, and the promise that a value depends on its window alone."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError
from hitherto.features import cache, kernels
from hitherto.features.operators import OPERATORS

NAN = np.nan
WINDOWS = (5, 10, 20, 30, 60)
ODD = (1, 2, 3, 7, 8, 33)  # not multiples of the lags that are added together
LEVELS = (0.0, 0.2, 0.5, 0.83, 1.0)

# Largest |kernel - oracle|, relative to the size named: "exact" 0; "value" the largest |x| of the panel (for sums, n
# times that); "square" its square; "spread" the window's standard deviation; "one" max(1, |oracle|). All are rounding
# of float64; the float32 output rounds at 6e-8.
TOLERANCE = {
    "count": ("exact", 0.0), "max": ("exact", 0.0), "min": ("exact", 0.0), "idxmax": ("exact", 0.0),
    "idxmin": ("exact", 0.0), "rank": ("exact", 0.0), "quantile": ("exact", 0.0), "sum": ("sum", 1e-14),
    "mean": ("value", 1e-14), "wma": ("value", 1e-14), "mad": ("value", 1e-14), "var": ("itself", 1e-11),
    "std": ("itself", 1e-11), "slope": ("spread", 1e-11), "resi": ("spread", 1e-11), "rsquare": ("one", 1e-11),
    "cov": ("square", 1e-13), "corr": ("one", 1e-11), "skew": ("one", 1e-9), "kurt": ("one", 1e-9),
}  # fmt: skip


def panel(kind, T, N, seed=0):
    rng = np.random.default_rng(seed)
    x = 10 * np.exp(np.cumsum(rng.normal(0, 0.03, (T, N)), axis=0))
    if kind == "ties":
        x = rng.integers(-2, 3, (T, N)) * np.where(rng.random((T, N)) < 0.5, 1.0, -1.0)  # with both zeros
    if kind == "constant":
        x = np.full((T, N), 0.1)
    if kind == "tiny":
        x *= 1e-100
    if kind == "huge":
        x *= 1e70  # fourth powers of the deviations still fit
    if kind == "outlier":
        x = 1.0 + 1e-3 * rng.normal(size=(T, N))
        x[rng.random((T, N)) < 0.05] = 1e6
    if kind in ("gaps", "ties"):
        x[rng.random((T, N)) < 0.3] = NAN
        x[rng.random((T, N)) < 0.02] = np.inf
        x[rng.random((T, N)) < 0.02] = -np.inf
        x[: T // 2, : N // 3] = NAN  # listed late
        x[T // 3 : T // 3 + 70, -1] = NAN  # halted longer than any window
    return x


KINDS = ("plain", "gaps", "ties", "constant", "tiny", "huge", "outlier")
SHAPES = ((150, 35), (1, 3), (2, 1), (40, 1), (7, 40))


def everything(x, y, start=0, windows=WINDOWS):
    """All finite-window kernels: {(operator, window, *level): (R - start, N)}."""
    out = dict(kernels.moments(x, start, windows, kernels.MOMENTS))
    out |= kernels.pairs(x, y, start, windows, kernels.PAIRS)
    out |= kernels.orders(x, start, windows, kernels.ORDERS)
    out |= kernels.quantiles(x, start, windows, LEVELS)
    return out | kernels.mads(x, start, windows)


def oracle(key, x, y):
    name, n, *level = key
    inputs = (x, y) if name in kernels.PAIRS else (x,)
    with np.errstate(all="ignore"):
        return OPERATORS[name].compute(*inputs, n, *level)


def size(kind, want, n, x, y):
    known = [np.abs(a[np.isfinite(a)]).max(initial=0.0) for a in (x, y)]
    if kind == "spread":
        return OPERATORS["std"].compute(x, n)
    return {"exact": 1.0, "value": known[0], "sum": n * known[0], "square": known[0] * known[1],
            "itself": np.abs(want), "one": np.maximum(1.0, np.abs(want))}[kind]  # fmt: skip


def assert_equal_oracle(x, y, windows):
    for key, got in everything(x, y, 0, windows).items():
        want = oracle(key, x, y)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=str(key))
        assert np.isfinite(got[~np.isnan(got)]).all(), key
        kind, tolerance = TOLERANCE[key[0]]
        with np.errstate(invalid="ignore", over="ignore"):
            far = np.abs(got - want) > tolerance * size(kind, want, key[1], x, y)
        assert not far.any(), (key, got[far][:3], want[far][:3])


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_equal_their_oracle(kind):
    for k, (T, N) in enumerate(SHAPES):
        x, y = panel(kind, T, N, k), panel("gaps" if kind == "gaps" else "plain", T, N, k + 100)
        for windows in (WINDOWS, ODD):
            assert_equal_oracle(x, y, windows)


def test_kernels_equal_their_oracle_over_several_tiles_and_a_long_window():
    x, y = panel("gaps", 1300, 3), panel("gaps", 1300, 3, 1)
    assert_equal_oracle(x, y, (4, 20))
    assert_equal_oracle(x[:700], y[:700], (250,))


def test_every_finite_window_operator_has_a_kernel():
    windowed = {name for name, operator in OPERATORS.items() if operator.reads == "window"}
    assert windowed - {"med"} == {key[0] for key in everything(np.ones((2, 1)), np.ones((2, 1)))}
    assert windowed - {"med"} == set(TOLERANCE)


def test_constants_have_exactly_no_variance_slope_or_deviation():
    x = np.full((80, 2), 0.1)
    x[::7, 1] = NAN
    got = everything(x, x)
    for name in ("var", "std", "slope", "mad", "cov"):
        for n in WINDOWS:
            assert set(np.unique(got[name, n][~np.isnan(got[name, n])])) == {0.0}
    for name in ("rsquare", "corr", "skew", "kurt"):
        assert np.isnan(got[name, 20]).all()
    assert (got["mean", 60][1:] == 0.1).all()


seeds = st.integers(0, 10_000)


def same_bits(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key].view(np.uint64), b[key].view(np.uint64), err_msg=str(key))


@given(seeds, st.integers(0, 99), st.sampled_from(["gaps", "ties"]))
def test_neither_chunks_nor_the_future_nor_earlier_history_change_a_bit(seed, cut, kind):
    windows = (2, 5, 13, 20)
    x, y = panel(kind, 100, 5, seed), panel(kind, 100, 5, seed + 1)
    whole = everything(x, y, 0, windows)
    first = max(cut - (windows[-1] - 1), 0)
    later = everything(x[first:], y[first:], cut - first, windows)
    same_bits({k: v[cut:] for k, v in whole.items()}, later)

    x[cut:], y[cut:] = panel("plain", 100 - cut, 5, seed + 2), np.inf
    same_bits({k: v[:cut] for k, v in whole.items()}, {k: v[:cut] for k, v in everything(x, y, 0, windows).items()})


@given(seeds)
def test_columns_do_not_know_their_place(seed):
    x, y = panel("gaps", 90, 37, seed), panel("ties", 90, 37, seed)
    order = np.random.default_rng(seed).permutation(37)[:34]
    whole = everything(x, y, 0, (3, 20))
    same_bits({k: v[:, order].copy() for k, v in whole.items()}, everything(x[:, order], y[:, order], 0, (3, 20)))


def test_chunks_longer_than_a_tile_change_no_bit():
    x, y = panel("gaps", 1200, 2), panel("gaps", 1200, 2, 1)
    whole = everything(x, y)
    same_bits({k: v[600:] for k, v in whole.items()}, everything(x[541:], y[541:], 59))


def test_a_planted_carried_sum_would_be_caught():
    x = panel("gaps", 100, 3)
    carried = np.cumsum(np.where(np.isfinite(x), x, 0.0), axis=0)
    carried[20:] -= carried[:-20].copy()  # the O(1) way: add the newest, take off the oldest
    assert (carried[40:] != kernels.moments(x, 40, (20,), ("sum",))["sum", 20]).any()


def test_two_million_bars_do_not_drift():
    rng = np.random.default_rng(0)
    x = 1000 + 0.001 * np.where(rng.random((2_000_000, 1)) < 0.5, -1.0, 1.0)
    got = kernels.moments(x, 0, (20,), ("mean", "slope"))
    tail = x[-519:]
    same_bits({k: v[-500:] for k, v in got.items()}, kernels.moments(tail, 19, (20,), ("mean", "slope")))
    for name, scale in (("mean", 1000.0), ("slope", 0.001)):
        want = OPERATORS[name].compute(tail, 20)[19:]
        assert np.abs(got[name, 20][-500:] - want).max() <= 1e-11 * scale


@given(seeds, st.integers(0, 60), st.sampled_from([1.0, 0.5, 2 / 21, 1e-3]))
def test_recursions_equal_their_oracle_and_replay_bit_for_bit(seed, cut, alpha):
    x = panel("gaps", 60, 4, seed)
    for name, fresh in (("decays", (alpha,)), ("expanding", ())):
        run = getattr(kernels, name)
        ops = kernels.DECAYS if name == "decays" else kernels.EXPANDING
        whole, end = run(x, *fresh, ops)
        head, state = run(x[:cut], *fresh, ops)
        kept = {k: v.copy() for k, v in state.items()}
        for _ in range(2):  # replay: the state handed in is not changed
            tail, last = run(x[cut:], *fresh, ops, state)
            same_bits(whole, {k: np.vstack([head[k], tail[k]]) for k in ops})
            same_bits(end, last)
            same_bits(state, kept)
        for op in ops:
            n = 0 if name == "expanding" else alpha
            if 0 < n < 1 or name == "expanding":
                np.testing.assert_allclose(whole[op], OPERATORS[op].compute(x, n), rtol=1e-9, atol=1e-12, err_msg=op)


def test_ema_equals_its_oracle():
    x = panel("gaps", 200, 3)
    got, state = kernels.ema(x, 2 / 21)
    np.testing.assert_allclose(got, OPERATORS["ema"].compute(x, 20), rtol=1e-13)
    assert set(state) == {"mean", "square", "weight", "weight2", "count"}


def test_read_only_and_empty_panels():
    x = panel("plain", 30, 2)
    want = kernels.moments(x, 0, (5,), ("mean",))
    x.setflags(write=False)
    same_bits(want, kernels.moments(x, 0, (5,), ("mean",)))
    assert everything(np.ones((3, 0)), np.ones((3, 0)))["mean", 5].shape == (3, 0)
    assert everything(np.ones((3, 2)), np.ones((3, 2)), 3)["rank", 5].shape == (0, 2)


def test_messages():
    x = np.ones((4, 2))
    cases = [
        (lambda: kernels.moments(x, 0, (5, 2), ("mean",)),
         "kernels: windows ascend from 1 to at most 200,000 rows, got (5, 2)"),
        (lambda: kernels.orders(x, 0, (5,), ("median",)),
         "kernels: unknown operator 'median'; one of max, idxmax, min, idxmin, rank"),
        (lambda: kernels.quantiles(x, 0, (5,), (20.0,)),
         "quantiles: levels are between 0 and 1, got (20.0,); e.g. (0.2, 0.8)"),
        (lambda: kernels.pairs(x, x[:2], 0, (5,), ("corr",)),
         "kernels: series of [(4, 2), (2, 2)] from row 0; want equal (R, N), start <= R"),
        (lambda: kernels.ema(x, 0.0),
         "decays: alpha is above 0 and at most 1, got 0.0; a span of n rows is alpha = 2 / (n + 1)"),
        (lambda: kernels.expanding(x, ("sum",), {"count": np.zeros(1)}),
         "kernels: a state holds count, total, mean, square, high, low, each (2,); got count (1,)"),
    ]  # fmt: skip
    for call, text in cases:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == text


TOY = "from hitherto.features.cache import kernel\n@kernel\ndef f(x):\n    return x + {}\n"
RUN = "import kernels_toy as k; print(k.f(1), len(k.f.stats.cache_hits), k.f.stats.cache_path or '-')"


def run_toy(folder, home):
    env = {**os.environ, "HITHERTO_CACHE": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", RUN], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_cache_serves_again_but_never_an_edited_source(tmp_path):
    home, source = tmp_path / "home", tmp_path / "kernels_toy.py"
    source.write_text(TOY.format(1))
    stamp = source.stat()
    value, hits, path = run_toy(tmp_path, home)
    assert (value, hits) == ("2", "0")
    assert path.startswith(str(home / "kernels"))
    assert run_toy(tmp_path, home)[:2] == ["2", "1"]

    source.write_text(TOY.format(7))  # same size, same time
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert run_toy(tmp_path, home)[:2] == ["8", "0"]

    home.joinpath("plain").write_text("")
    assert run_toy(tmp_path, home / "plain") == ["8", "0", "-"]  # nowhere to write: compiled anew, nothing beside it
    assert not (tmp_path / "__pycache__").exists()


def test_user_cache_is_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HITHERTO_CACHE", str(tmp_path))
    assert cache.user_cache() == tmp_path
    monkeypatch.delenv("HITHERTO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache.user_cache().name == "hitherto"
