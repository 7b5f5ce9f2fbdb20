"""What a feature may depend on: its own listing's last ``lookback`` rows and row t's cross-section. Bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

from hitherto.features import library, operators
from hitherto.features.expression import evaluate, parse
from hitherto.features.operators import OPERATORS
from hitherto.panel import Panel

FIELDS = ("close", "volume", "open")
LIBRARY = {**library.close_only(), **library.price_volume()}


def text_of(name, n=4):
    """A call of one operator on fields with ties, gaps and zeros."""
    operator = OPERATORS[name]
    inputs = FIELDS[: len(operator.inputs)]
    numbers = [str(max(n, operator.least)) if k == "n" else "0.3" for k in operator.numbers]
    if operator.symbol:
        return f"{operator.symbol}{inputs[0]}" if len(inputs) == 1 else f" {operator.symbol} ".join(inputs)
    return f"{name}({', '.join([*inputs, *numbers])})"


EVERY = [*(text_of(name) for name in OPERATORS), "mean(ref(close, 2), 5)", "max(corr(close, volume, 5), 3) > 0.5",
         "cs_rank(mean(close, 4))", "mean(cs_zscore(close), 3)", "ema(cs_rank(close), 3)"]  # fmt: skip


def market(seed, T=40, N=6) -> Panel:
    """Halts, zero volumes, ties and names outside the universe."""
    rng = np.random.default_rng(seed)
    panel = make_panel(T=T, N=N, seed=seed, halts=0.15)
    fields = {k: v.copy() for k, v in panel.fields.items()}
    fields["close"] = np.round(fields["close"], 1)
    fields["volume"][rng.random((T, N)) < 0.1] = 0.0
    return panel.replace(fields=fields, universe=rng.random((T, N)) < 0.9)


def rewritten(panel, t, seed):
    """The same market until row t, another one after it: values, halts and universe."""
    rng = np.random.default_rng(seed)
    later = np.arange(panel.shape[0])[:, None] > t
    other = make_panel(T=panel.shape[0], N=panel.shape[1], seed=seed + 1, halts=0.4)
    fields = {k: np.where(later, other.fields[k] * rng.choice([1.0, 1e6]), v) for k, v in panel.fields.items()}
    masks = {"suspended": other.suspended, "universe": rng.random(panel.shape) < 0.5}
    return panel.replace(fields=fields, **{k: np.where(later, m, getattr(panel, k)) for k, m in masks.items()})


def from_row(panel, start):
    fields = {k: v[start:].copy() for k, v in panel.fields.items()}
    masks = {k: getattr(panel, k)[start:].copy() for k in ("listed", "suspended", "missing", "universe")}
    return panel.replace(times=panel.times[start:], sessions=panel.sessions[start:], fields=fields, **masks)


def same(a, b):
    return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


@pytest.mark.parametrize("text", EVERY)
def test_rewriting_the_future_changes_nothing_before_it(text):
    expression = parse(text)

    @given(st.integers(0, 1000), st.integers(0, 38))
    def check(seed, t):
        panel = market(seed)
        whole = evaluate(expression, panel)
        assert same(whole[: t + 1], evaluate(expression, rewritten(panel, t, seed))[: t + 1])
        assert same(whole[: t + 1], evaluate(expression, panel.rows(t + 1)))

    check()


@pytest.mark.parametrize("text", [t for t in EVERY if not parse(t).is_recursive])
def test_a_window_depends_on_its_own_rows_only(text):
    expression = parse(text)
    lookback = int(expression.lookback)

    @given(st.integers(0, 1000), st.integers(1, 39 - lookback))
    def check(seed, start):
        panel = market(seed)
        head = lookback - 1
        whole = evaluate(expression, panel)[start + head :]
        assert same(whole, evaluate(expression, from_row(panel, start))[head:])
        wild = {k: np.where(np.arange(40)[:, None] < start, v * -1e9 + 3, v) for k, v in panel.fields.items()}
        assert same(whole, evaluate(expression, panel.replace(fields=wild))[start + head :])

    check()


@pytest.mark.parametrize("text", EVERY)
def test_assets_are_interchangeable(text):
    expression = parse(text)

    @given(st.integers(0, 1000), st.permutations(range(6)))
    def check(seed, order):
        panel = market(seed)
        order = np.array(order)
        whole, permuted = evaluate(expression, panel), evaluate(expression, panel.assets(order))
        if expression.is_cross_sectional:
            np.testing.assert_allclose(permuted, whole[:, order], rtol=1e-12, atol=1e-12)
        else:
            assert same(permuted, whole[:, order])
            assert same(evaluate(expression, panel.assets(order[:1])), whole[:, order[:1]])  # the others may be absent

    check()


def test_a_leak_would_be_seen():
    """Planted: a centred mean, a bfill, a full-sample scale, and running sums; each breaks its property."""
    panel, t = market(3), 20
    changed = rewritten(panel, t, 3)
    close, later = panel.view("close"), changed.view("close")

    def centred(x):
        return np.nan_to_num(x) + np.nan_to_num(np.roll(x, -1, axis=0))

    def backfill(x):
        out = x.copy()
        for k in range(len(x) - 2, -1, -1):
            out[k] = np.where(np.isnan(out[k]), out[k + 1], out[k])
        return out

    def scale(x):
        return x / np.nanstd(x)

    def reaches_ahead(leak, seed):
        x, y = market(seed).view("close"), rewritten(market(seed), t, seed).view("close")
        return not same(leak(x)[: t + 1], leak(y)[: t + 1])

    for leak in (centred, backfill, scale):
        assert any(reaches_ahead(leak, seed) for seed in range(5)), leak.__name__
    assert same(close[: t + 1], later[: t + 1])

    def running(x, n):
        total = np.cumsum(np.nan_to_num(x), axis=0)
        return total - np.vstack([np.zeros((n, x.shape[1])), total[:-n]])

    assert not same(running(close, 5)[10:], running(close[3:], 5)[7:])


@pytest.mark.parametrize("name", LIBRARY)
def test_the_library_is_causal_exact_and_free_of_scale(name):
    expression = parse(LIBRARY[name])
    head = int(expression.lookback) - 1
    for seed in range(5):
        panel = make_panel(T=150, N=5, seed=seed, halts=0.05)
        whole = evaluate(expression, panel)
        assert np.isfinite(whole[head:]).mean() > 0.5
        for t in (70, 101, 148):
            assert same(whole[: t + 1], evaluate(expression, rewritten(panel, t, seed))[: t + 1])
        assert same(whole[33 + head :], evaluate(expression, from_row(panel, 33))[head:])
        for factor in (0.01, 3.0, 1024.0, 12345.678):
            prices = {k: v if k == "volume" else v * factor for k, v in panel.fields.items()}
            scaled = evaluate(expression, panel.replace(fields=prices))
            np.testing.assert_allclose(scaled, whole, rtol=1e-9, atol=1e-9, equal_nan=True)
            if factor == 1024.0:
                assert same(scaled, whole)


def test_close_only_needs_the_close_alone():
    features = library.build(make_panel(T=70, N=3, fields=("close",)), library.close_only())
    assert features.fields == ("close",)
    assert len(features.names) == 12
    assert max(features.lookbacks) == 61
    assert len(library.price_volume()) == 20
    assert library.build(make_panel(T=70, N=3), library.price_volume()).fields == (
        "close",
        "high",
        "low",
        "open",
        "volume",
    )


def test_results_do_not_depend_on_blocks(monkeypatch):
    """Long and wide enough for several blocks of columns and for vectorised loops and their tails."""
    rng = np.random.default_rng(0)
    x, y = 10 + rng.normal(size=(2, 1500, 53))
    x[rng.random(x.shape) < 0.05] = np.nan
    order = rng.permutation(53)
    for name, operator in OPERATORS.items():
        if operator.reads not in ("window", "shift"):
            continue
        inputs = [x, y][: len(operator.inputs)]
        numbers = [0.3 if k == "q" else 17 for k in operator.numbers]
        whole = operator.compute(*inputs, *numbers)
        assert same(whole[:, order], operator.compute(*(v[:, order] for v in inputs), *numbers)), name
        assert same(whole[701 + 17 :], operator.compute(*(v[701:] for v in inputs), *numbers)[17:]), name
        assert same(whole[:701], operator.compute(*(v[:701] for v in inputs), *numbers)), name
        for cells, cells_sorted in ((1, 1), (1 << 30, 1 << 30)):
            monkeypatch.setattr(operators, "CELLS", cells)
            monkeypatch.setattr(operators, "SORT_CELLS", cells_sorted)
            assert same(whole[:90, :7], operator.compute(*(v[:90, :7] for v in inputs), *numbers)), name
        monkeypatch.undo()


@pytest.mark.parametrize("text", EVERY)
def test_no_rows_and_no_names_give_empty_results(text):
    panel = market(0)
    for empty in (panel.rows(0), panel.assets(np.array([], np.intp))):
        assert evaluate(parse(text), empty).shape == empty.shape
