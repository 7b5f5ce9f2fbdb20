"""Every operator against an independent definition: pandas rolling, or plain NumPy on one window at a time."""

import numpy as np
import pandas as pd
import pytest

from hitherto.features import operators
from hitherto.features.operators import OPERATORS, ema_weights

NAN = np.nan


def positions(w):
    return np.arange(1, len(w) + 1, dtype=float)


def by_window(f):
    """f(window of exactly n values, NaN where unknown) at every row; rows before the first count as unknown."""

    def oracle(x, n, *more):
        padded = np.vstack([np.full((n - 1, x.shape[1]), NAN), x])
        out = np.full(x.shape, NAN)
        for t in range(len(x)):
            for a in range(x.shape[1]):
                w = padded[t : t + n, a]
                if np.isfinite(w).any():
                    out[t, a] = f(w, *more)
        return out

    return oracle


def by_pandas(f):
    return lambda x, n, *more: f(pd.DataFrame(x).rolling(n, min_periods=1), *more).to_numpy()


def line(w):
    ok = np.isfinite(w)
    p, v = positions(w)[ok], w[ok]
    if len(v) < 2:
        return NAN, NAN, NAN
    slope, intercept = np.polyfit(p - p.mean(), v, 1)
    spread = ((v - v.mean()) ** 2).sum()
    left = ((v - intercept - slope * (p - p.mean())) ** 2).sum()
    last = w[-1] - intercept - slope * (len(w) - p.mean())
    return slope, last, NAN if np.ptp(v) == 0 else 1 - left / spread


def since_known(w):
    """The window from its first known row on."""
    return w[np.argmax(np.isfinite(w)) :]


def wma(w):
    w = since_known(w)
    ok = np.isfinite(w)
    return np.average(w[ok], weights=positions(w)[ok])


ONE = {
    "mean": by_pandas(lambda r: r.mean()),
    "sum": by_pandas(lambda r: r.sum()),
    "std": by_pandas(lambda r: r.std()),
    "var": by_pandas(lambda r: r.var()),
    "max": by_pandas(lambda r: r.max()),
    "min": by_pandas(lambda r: r.min()),
    "skew": by_pandas(lambda r: r.skew()),
    "kurt": by_pandas(lambda r: r.kurt()),
    "med": by_pandas(lambda r: r.median()),
    "rank": by_pandas(lambda r: r.rank(pct=True)),
    "count": by_pandas(lambda r: r.count()),
    "mad": by_window(lambda w: np.nanmean(np.abs(w - np.nanmean(w)))),
    "idxmax": by_window(lambda w: np.nanargmax(since_known(w)) + 1),
    "idxmin": by_window(lambda w: np.nanargmin(since_known(w)) + 1),
    "wma": by_window(wma),
    "slope": by_window(lambda w: line(w)[0]),
    "resi": by_window(lambda w: line(w)[1]),
    "rsquare": by_window(lambda w: line(w)[2]),
    "ref": lambda x, n: pd.DataFrame(x).shift(n).to_numpy(),
    "delta": lambda x, n: pd.DataFrame(x).diff(n).to_numpy(),
    "ema": lambda x, n: pd.DataFrame(x).ewm(span=n, min_periods=1).mean().to_numpy(),
}
ROW = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
    "power": lambda x, y: x**y, "greater": np.maximum, "less": np.minimum, "neg": lambda x: -x, "abs": np.abs,
    "sign": np.sign, "log": np.log,
    "gt": lambda x, y: x > y, "ge": lambda x, y: x >= y, "lt": lambda x, y: x < y, "le": lambda x, y: x <= y,
    "eq": lambda x, y: x == y, "ne": lambda x, y: x != y,
    "and": lambda x, y: (x != 0) & (y != 0), "or": lambda x, y: (x != 0) | (y != 0), "not": lambda x: x == 0,
}  # fmt: skip
NEVER_UNKNOWN = ("gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not")
CROSS = ("cs_rank", "cs_zscore", "cs_demean", "cs_winsorize", "cs_group_mean", "cs_group_neutralize", "cs_neutralize")
ELSEWHERE = {"corr", "cov", "quantile", "if", "mask", *CROSS}


def series(T, N, seed, kind):
    rng = np.random.default_rng(seed)
    x = 10 + rng.normal(0, 1, (T, N))
    if kind == "ties":
        x = rng.integers(0, 3, (T, N)).astype(float)
    if kind == "constant":
        x = np.full((T, N), 0.1)
    if kind == "gaps":
        x[rng.random((T, N)) < 0.3] = NAN
        x[T // 3 : T // 2, 0] = NAN
    return x


KINDS = ("plain", "ties", "constant", "gaps")
SHAPES = ((40, 3), (1, 3), (40, 1), (1, 1), (3, 2))


def test_every_operator_has_an_oracle():
    assert {*ONE, *ROW, *ELSEWHERE} == set(OPERATORS)


@pytest.mark.parametrize("name", ONE)
def test_windows_equal_their_oracle(name):
    operator = OPERATORS[name]
    for kind in KINDS:
        for k, (T, N) in enumerate(SHAPES):
            x = series(T, N, k, kind)
            for n in (1, 2, 5, 60):
                if n < operator.least:
                    continue
                with np.errstate(all="ignore"):
                    want = ONE[name](x, n)
                got = operator.compute(x, n)
                assert got.dtype == np.float64
                np.testing.assert_allclose(
                    got, want, rtol=1e-9, atol=1e-9, equal_nan=True, err_msg=f"{kind} {T, N} n={n}"
                )


@pytest.mark.parametrize("q", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_quantile_equals_pandas(q, monkeypatch):
    monkeypatch.setattr(operators, "SORT_CELLS", 50)  # several blocks of rows
    for kind in KINDS:
        for k, (T, N) in enumerate(SHAPES):
            x = series(T, N, k, kind)
            for n in (1, 4, 60):
                want = pd.DataFrame(x).rolling(n, min_periods=1).quantile(q)
                np.testing.assert_allclose(OPERATORS["quantile"].compute(x, n, q), want, rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("n", [2, 5, 60])
def test_corr_and_cov_use_the_rows_where_both_are_known(n):
    for kind in ("plain", "gaps", "ties"):
        x, y = series(40, 3, 1, kind), series(40, 3, 2, kind)
        y[5:9, 1] = NAN
        cov, corr = (OPERATORS[k].compute(x, y, n) for k in ("cov", "corr"))
        for t in range(40):
            for a in range(3):
                w = np.stack([x[max(0, t - n + 1) : t + 1, a], y[max(0, t - n + 1) : t + 1, a]])
                w = w[:, np.isfinite(w).all(axis=0)]
                if w.shape[1] < 2:
                    assert np.isnan(cov[t, a])
                    assert np.isnan(corr[t, a])
                    continue
                np.testing.assert_allclose(cov[t, a], np.cov(w)[0, 1], rtol=1e-9, atol=1e-9)
                if (np.ptp(w, axis=1) == 0).any():
                    assert np.isnan(corr[t, a])
                else:
                    np.testing.assert_allclose(corr[t, a], np.corrcoef(w)[0, 1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        OPERATORS["corr"].compute(x, 2 * x + 1, n)[1:], np.where(np.isnan(corr_self(x, n)), NAN, 1)[1:]
    )


def corr_self(x, n):
    return OPERATORS["corr"].compute(x, x, n)


@pytest.mark.parametrize("name", ROW)
def test_row_operators_equal_numpy_and_are_unknown_where_an_input_is(name):
    rng = np.random.default_rng(0)
    values = np.array([NAN, -2.0, -1.0, 0.0, 1.0, 2.0, 0.5])
    inputs = [rng.choice(values, (30, 4)) for _ in OPERATORS[name].inputs]
    with np.errstate(all="ignore"):
        want = np.asarray(ROW[name](*inputs), float)
    want[np.isinf(want)] = NAN
    unknown = np.isnan(inputs).any(axis=0)
    want[unknown] = NAN
    if name in NEVER_UNKNOWN:
        known_true = [np.nan_to_num(x) != 0 for x in inputs]
        want[unknown] = (known_true[0] | known_true[-1])[unknown] if name == "or" else 0.0
    np.testing.assert_array_equal(OPERATORS[name].compute(*inputs), want)


def test_an_unknown_operand_makes_no_comparison_true():
    x, y = np.array([NAN, NAN, 1.0, np.inf]), np.array([NAN, 1.0, NAN, 1.0])
    for name in ("gt", "ge", "lt", "le", "eq", "ne", "and"):
        np.testing.assert_array_equal(OPERATORS[name].compute(x, y), np.zeros(4))
    np.testing.assert_array_equal(OPERATORS["or"].compute(x, y), [0, 1, 1, 1])
    np.testing.assert_array_equal(OPERATORS["not"].compute(x), [0, 0, 0, 0])
    np.testing.assert_array_equal(OPERATORS["mask"].compute(np.full(4, 5.0), x), [NAN, NAN, 5.0, NAN])


def test_if_reads_only_the_side_it_takes():
    got = OPERATORS["if"].compute(
        np.array([1.0, 0.0, NAN, 2.0]), np.array([5.0, NAN, 1.0, NAN]), np.array([NAN, 7.0, 1.0, 3.0])
    )
    np.testing.assert_array_equal(got, [5.0, 7.0, NAN, NAN])


@pytest.mark.parametrize("value", [0.1, 1e-300, 1e15, -3.7, 1 / 3])
@pytest.mark.parametrize("n", [2, 7, 60])
def test_a_constant_window_is_exact(value, n):
    x = np.full((80, 2), value)
    x[::3, 1] = NAN
    run = {
        k: OPERATORS[k].compute(x, n)
        for k in ("mean", "wma", "max", "min", "med", "std", "var", "mad", "slope", "resi")
    }
    for name in ("mean", "wma", "max", "min", "med"):
        assert np.isin(run[name][2:], [value, NAN]).sum() == np.isfinite(run[name][2:]).sum()
    for name in ("std", "var", "mad", "slope", "resi"):
        known = run[name][np.isfinite(run[name])]
        assert len(known) > 50
        assert (known == 0).all()
    assert np.isnan(OPERATORS["corr"].compute(x, np.arange(160.0).reshape(80, 2), n)).all()
    assert np.isnan(OPERATORS["rsquare"].compute(x, n)).all()


def test_rounding_noise_has_no_correlation():
    x = 10 * (1 + 1e-15 * np.random.default_rng(0).integers(-3, 4, (50, 2)))
    y = np.random.default_rng(1).normal(size=(50, 2))
    assert np.isnan(OPERATORS["corr"].compute(x, y, 10)).all()
    assert np.isnan(OPERATORS["rsquare"].compute(x, 10)).all()
    assert np.isfinite(OPERATORS["corr"].compute(10 + 1e-9 * y, y, 10)[9:]).all()


def test_faults_found_in_other_engines():
    x = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    assert OPERATORS["wma"].compute(x, 4)[3, 0] == 3.0  # Qlib 0.9.7 gives 0.75
    hole = np.array([[3.0], [NAN], [9.0], [1.0]])
    assert OPERATORS["idxmax"].compute(hole, 4)[3, 0] == 3  # Qlib gives the place of the NaN
    assert OPERATORS["idxmin"].compute(hole, 4)[3, 0] == 4
    spike = np.arange(100.0)[:, None] ** 1.5
    spiked = spike.copy()
    spiked[10] = np.inf
    for name in ("slope", "resi", "rsquare", "mean", "std"):  # an inf poisons no later window
        whole, hurt = OPERATORS[name].compute(spike, 5), OPERATORS[name].compute(spiked, 5)
        assert hurt[15:].tobytes() == whole[15:].tobytes()
        assert np.isfinite(hurt[11:15]).all()
    far = 1e6 + np.random.default_rng(0).normal(0, 1e-3, (20_000, 1))  # running sums lose digits here
    want = by_window(lambda w: line(w)[0])(far[-50:], 5)[4:]
    np.testing.assert_allclose(OPERATORS["slope"].compute(far, 5)[-46:], want, rtol=1e-4)


def test_ties_take_the_earliest_position_and_the_average_rank():
    x = np.array([[2.0], [2.0], [1.0], [1.0], [2.0]])
    assert OPERATORS["idxmax"].compute(x, 5)[4, 0] == 1
    assert OPERATORS["idxmin"].compute(x, 5)[4, 0] == 3
    assert OPERATORS["rank"].compute(x, 5)[4, 0] == (2 + 2) / 5
    np.testing.assert_array_equal(
        OPERATORS["idxmax"].compute(x, 5)[:, 0], [1, 1, 1, 1, 1]
    )  # a short head counts from 1


def test_count_is_zero_and_the_rest_unknown_where_nothing_is_known():
    x = np.full((6, 2), NAN)
    for name, operator in OPERATORS.items():
        if operator.reads != "window":
            continue
        numbers = [0.5 if n == "q" else 3 for n in operator.numbers]
        out = operator.compute(*[x] * len(operator.inputs), *numbers)
        assert (out == 0).all() if name == "count" else np.isnan(out).all(), name


def test_infinity_never_comes_out():
    x = np.array([[1e308, -1e308, 0.0, np.inf], [1e308, 1e308, -0.0, -np.inf], [-1e308, 1e-308, 0.0, 1.0]])
    mask = np.ones(x.shape, bool)
    for operator in OPERATORS.values():
        numbers = [0.5 if n == "q" else 2 for n in operator.numbers]
        last = [mask] if operator.reads == "date" else []
        assert not np.isinf(operator.compute(*[x] * len(operator.inputs), *numbers, *last)).any(), operator.name


def test_ema_weights_equal_pandas_and_forget_a_long_gap():
    x = series(60, 3, 5, "gaps")
    mean, variance = ema_weights(x, 0.2)
    frame = pd.DataFrame(x).ewm(alpha=0.2, min_periods=1)
    np.testing.assert_allclose(mean, frame.mean(), rtol=1e-12)
    np.testing.assert_allclose(variance, frame.var(bias=True), rtol=1e-9, atol=1e-12)
    gap = np.vstack([np.full((1, 1), 5.0), np.full((3000, 1), NAN), np.full((2, 1), 7.0)])
    mean, variance = ema_weights(gap, 0.5)  # the old weight underflows to zero
    assert mean[-1, 0] == 7.0
    assert variance[-1, 0] == 0.0


def test_cross_sectional_operators_equal_pandas():
    x = series(25, 40, 3, "gaps")
    x[:, 5] = x[:, 7]
    mask = np.random.default_rng(0).random(x.shape) < 0.8
    seen = pd.DataFrame(np.where(mask, x, NAN))
    np.testing.assert_allclose(OPERATORS["cs_rank"].compute(x, mask), seen.rank(axis=1, pct=True), rtol=1e-14)
    want = seen.sub(seen.mean(axis=1), axis=0).div(seen.std(axis=1), axis=0)
    np.testing.assert_allclose(OPERATORS["cs_zscore"].compute(x, mask), want, rtol=1e-10, atol=1e-12)
    alone = np.array([[5.0, NAN], [0.1, 0.1]])
    np.testing.assert_array_equal(OPERATORS["cs_zscore"].compute(alone, np.ones((2, 2), bool)), [[0, NAN], [0, 0]])


def cross(T=25, N=40, seed=3):
    """A series with gaps and ties, and a mask."""
    x = series(T, N, seed, "gaps")
    x[:, 5] = x[:, 7]
    return x, np.random.default_rng(seed).random(x.shape) < 0.8


def test_demean_and_winsorize_equal_pandas():
    x, mask = cross()
    seen = pd.DataFrame(np.where(mask, x, NAN))
    np.testing.assert_allclose(
        OPERATORS["cs_demean"].compute(x, mask), seen.sub(seen.mean(axis=1), axis=0), rtol=1e-10, atol=1e-12
    )
    for q in (0.01, 0.1, 0.4):
        want = seen.clip(seen.quantile(q, axis=1), seen.quantile(1 - q, axis=1), axis=0)
        np.testing.assert_allclose(OPERATORS["cs_winsorize"].compute(x, q, mask), want, rtol=1e-13)
    median = seen.median(axis=1)
    reach = 1.4826 * seen.sub(median, axis=0).abs().median(axis=1)
    for k in (1.0, 2.5):
        want = seen.clip(median - k * reach, median + k * reach, axis=0)
        got = OPERATORS["cs_winsorize"].compute(x, k, mask)
        np.testing.assert_allclose(got, want, rtol=1e-13)
        assert (got != x)[mask & np.isfinite(x)].any()
    spike = np.array([[1.0, 1.0, 1.0, 1.0, 11.0]])  # its MAD is zero: std around the median, sqrt(20), takes its place
    np.testing.assert_allclose(
        OPERATORS["cs_winsorize"].compute(spike, 1.0, np.ones((1, 5), bool)), [[1, 1, 1, 1, 1 + np.sqrt(20)]]
    )


def test_group_operators_equal_pandas():
    x, mask = cross()
    group = np.random.default_rng(9).integers(0, 5, x.shape).astype(float)
    group[3, :] = np.arange(x.shape[1])  # every name alone
    group[::4, 2] = NAN
    mean, left = (OPERATORS[k].compute(x, group, mask) for k in ("cs_group_mean", "cs_group_neutralize"))
    for t in range(len(x)):
        frame = pd.DataFrame({"x": x[t], "g": group[t]})[mask[t]]
        want = frame.groupby("g")["x"].transform("mean").reindex(range(x.shape[1]))
        np.testing.assert_allclose(mean[t], want, rtol=1e-12)
        np.testing.assert_allclose(left[t], x[t] - want.to_numpy(), rtol=1e-10, atol=1e-12)
    assert set(left[3][np.isfinite(left[3])]) == {0.0}
    same = OPERATORS["cs_group_neutralize"].compute(np.full((1, 7), 0.1), np.zeros((1, 7)), np.ones((1, 7), bool))
    np.testing.assert_array_equal(same, np.zeros((1, 7)))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_neutralize_equals_least_squares(count):
    x, mask = cross(T=30, N=12)
    rng = np.random.default_rng(0)
    factors = [rng.normal(1e6, 3.0, x.shape) for _ in range(count)]
    factors[0][rng.random(x.shape) < 0.2] = NAN
    mask[:8] &= rng.random((8, 12)) < 0.4  # some dates hold too few names
    got = OPERATORS["cs_neutralize"].compute(x, *factors, mask)
    short = 0
    for t in range(len(x)):
        ok = mask[t] & np.isfinite([x[t], *(f[t] for f in factors)]).all(axis=0)
        assert not np.isfinite(got[t, ~ok]).any()
        if ok.sum() < count + 2:
            short += 1
            assert np.isnan(got[t]).all()
            continue
        design = np.column_stack([np.ones(ok.sum()), *(f[t, ok] - 1e6 for f in factors)])
        fit = design @ np.linalg.lstsq(design, x[t, ok], rcond=None)[0]
        np.testing.assert_allclose(got[t, ok], x[t, ok] - fit, rtol=0, atol=1e-8)
    assert short >= 2


def test_a_spanned_factor_takes_nothing_and_a_full_one_leaves_nothing():
    rng = np.random.default_rng(1)
    x, f, flat = rng.normal(size=(5, 20)), rng.normal(size=(5, 20)), np.full((5, 20), 3.3)
    mask = np.ones(x.shape, bool)
    neutralize = OPERATORS["cs_neutralize"].compute
    alone = neutralize(x, f, mask)
    np.testing.assert_allclose(neutralize(x, f, 2 * f + 7, flat, mask), alone, atol=1e-12)
    np.testing.assert_allclose(neutralize(x, flat, mask), x - x.mean(axis=1, keepdims=True), atol=1e-14)
    np.testing.assert_allclose(neutralize(5 - 3 * f, f, mask), 0, atol=1e-13)
    assert np.abs(alone).max() > 0.5


def test_names_outside_the_mask_move_nothing():
    x, mask = cross()
    other = [np.random.default_rng(k).integers(0, 4, x.shape).astype(float) for k in range(2)]
    wild = [np.where(mask, v, 1e9) for v in (x, *other)]
    for name in CROSS:
        operator = OPERATORS[name]
        numbers = [2.0] * len(operator.numbers)
        count = len(operator.inputs) + operator.variadic
        got = operator.compute(x, *other[: count - 1], *numbers, mask)
        assert got.tobytes() == operator.compute(*wild[:count], *numbers, mask).tobytes(), name
        assert np.isnan(got[~mask]).all()
        assert np.isfinite(got[mask]).any()


GROWING = {
    "mean": lambda e: e.mean(), "sum": lambda e: e.sum(), "std": lambda e: e.std(), "var": lambda e: e.var(),
    "max": lambda e: e.max(), "min": lambda e: e.min(), "med": lambda e: e.median(), "rank": lambda e: e.rank(pct=True),
    "count": lambda e: e.count(), "skew": lambda e: e.skew(), "kurt": lambda e: e.kurt(),
    "quantile": lambda e: e.quantile(0.3),
}  # fmt: skip


def test_expanding_forms_equal_pandas_and_a_window_of_all_rows():
    for name, operator in OPERATORS.items():
        if "expanding" not in operator.forms or name == "ema":
            continue
        x, y = series(40, 3, 1, "gaps"), series(40, 3, 2, "gaps")
        inputs, more = [x, y][: len(operator.inputs)], [0.3] * ("q" in operator.numbers)
        got = operator.compute(*inputs, 0, *more)
        assert got.tobytes() == operator.compute(*inputs, 40, *more).tobytes(), name
        assert got[:25].tobytes() == operator.compute(*(v[:25] for v in inputs), 0, *more).tobytes(), name
        if name in GROWING:
            want = GROWING[name](pd.DataFrame(x).expanding(min_periods=1))
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9, err_msg=name)


def test_exponential_forms_equal_pandas():
    for kind in ("plain", "gaps", "constant"):
        x = series(60, 3, 4, kind)
        frame = pd.DataFrame(x).ewm(alpha=0.2, min_periods=1)
        for name, want in {"mean": frame.mean(), "ema": frame.mean(), "var": frame.var(), "std": frame.std()}.items():
            assert "exponential" in OPERATORS[name].forms
            np.testing.assert_allclose(OPERATORS[name].compute(x, 0.2), want, rtol=1e-9, atol=1e-12, err_msg=name)


def test_ema_over_every_row_has_a_span_that_grows():
    x = series(30, 2, 4, "gaps")
    x[:4, 1] = NAN
    got = OPERATORS["ema"].compute(x, 0)
    for t in range(30):
        for a in range(2):
            w = x[: t + 1, a]
            if not np.isfinite(w).any():
                assert np.isnan(got[t, a])
                continue
            w = since_known(w)
            weight = (1 - 2 / (len(w) + 1)) ** np.arange(len(w))[::-1] * np.isfinite(w)
            if weight.sum() > 0:
                np.testing.assert_allclose(got[t, a], np.nansum(weight * w) / weight.sum(), rtol=1e-12)
