"""The expression language: what parses, what it means, and what every refusal says."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError, DataError, FutureError, HithertoError
from hitherto.features import expression as module
from hitherto.features import library
from hitherto.features.expression import Evaluator, evaluate, parse
from hitherto.features.operators import OPERATORS, Operator

SAME = {
    "Mean($close, 20)/$close-1": "mean(close, 20) / close - 1",
    "Ref($close, 5)/$close": "ref(close, 5) / close",
    "($close-$open)/($high-$low+1e-12)": "(close - open) / (high - low + 0.000000000001)",
    "Corr($close/Ref($close,1), Log($volume+1), 10)": "corr(close / ref(close, 1), log(volume + 1), 10)",
    "IdxMax($high, 5)/5": "idxmax(high, 5) / 5",
    "If($close>$open, $volume, -$volume)": "if(close > open, volume, -volume)",
    "Sum(Greater($close-Ref($close,1),0),10)/(Sum(Abs($close),10)+1e-12)": (
        "sum(greater(close - ref(close, 1), 0), 10) / (sum(abs(close), 10) + 1e-12)"
    ),
    "Quantile($close, 10, 0.8)": "quantile(close, 2 * 5, 4 / 5)",
    "And($close > $open, Not(Gt($low, 9)))": "close > open and not low > 9",
    "Or(Eq($close, $open), Ne($low, $high))": "(close == open) | (low != high)",
    "Mask($close, Gt($volume, 0))": "mask(close, volume > 0)",
    "Skew($close, 5) + Kurt($close, 5)": "skew(close, 5) + kurt(close, 5)",
    "Mean($close, 0) / Std($close, 0.2)": "mean(close, 0) / std(close, 1/5)",
    "EMA($close, 12) - WMA($close, 12)": "ema(close, 12) - wma(close, 12)",
    "Power($close, 2)": "close ** 2",
    "Mul(Add($close, 1), Div($open, Sub($high, $low)))": "(close + 1) * (open / (high - low))",
    "  \t$close\r\n - 1 ": "+close - +1",
}


@pytest.mark.parametrize(("qlib", "ours"), SAME.items())
def test_qlib_and_our_spelling_are_one_tree(qlib, ours, panel):
    a, b = parse(qlib), parse(ours)
    assert a == b
    assert str(a) == str(b)
    assert (a.lookback, a.fields) == (b.lookback, b.fields)
    assert evaluate(a, panel).tobytes() == evaluate(b, panel).tobytes()


@pytest.mark.parametrize(
    ("text", "lookback", "fields"),
    [
        ("close", 1, ("close",)),
        ("mean(close, 20) / close - 1", 20, ("close",)),
        ("ref(x, 2)", 3, ("x",)),
        ("delta(x, 2)", 3, ("x",)),
        ("mean(ref(x, 2), 5)", 7, ("x",)),
        ("max(std(ref(x, 1), 5), 10) + ref(y, 3)", 15, ("x", "y")),
        ("corr(ref(b, 3), a, 4)", 7, ("a", "b")),
        ("quantile(x, 4, 0.5)", 4, ("x",)),
        ("cs_rank(mean(x, 3))", 3, ("x",)),
        ("cs_neutralize(x, ref(y, 4), z, y)", 5, ("x", "y", "z")),
        ("cs_group_neutralize(cs_winsorize(x, 0.05), industry)", 1, ("industry", "x")),
        ("ema(x, 5)", np.inf, ("x",)),
        ("mean(x, 0)", np.inf, ("x",)),
        ("std(x, 0.2)", np.inf, ("x",)),
        ("corr(x, y, 0)", np.inf, ("x", "y")),
        ("mask(skew(x, 3), kurt(y, 4) > 0)", 4, ("x", "y")),
        ("mean(ema(x, 5), 5) + y", np.inf, ("x", "y")),
        ("ref(x, 3 - 1)", 3, ("x",)),
        ("ref(x, -(-2))", 3, ("x",)),
    ],
)
def test_lookback_and_fields_follow_from_the_tree(text, lookback, fields):
    parsed = parse(text)
    assert parsed.lookback == lookback
    assert parsed.fields == fields
    assert parsed.is_recursive == np.isinf(lookback)
    assert parsed.is_cross_sectional == ("cs_" in text)
    assert parsed.text == text


OVERFLOW = "this constant is not a finite number (an overflow, a division by zero or a bad root)"
MESSAGES = {
    "Ref($close, -2)/Ref($close, -1)-1": (
        FutureError,
        "expression 'Ref($close, -2)/Ref($close, -1)-1', column 13: ref asks for the value 2 rows after t, at t only "
        "rows up to t are known; use n >= 1. labels.py is the only place that may read ahead: "
        "forward_return(panel, horizons)",
    ),
    "delta(close, 1 - 2)": (
        FutureError,
        "expression 'delta(close, 1 - 2)', column 14: delta asks for the value 1 row after t, at t only rows up to t "
        "are known; use n >= 1. labels.py is the only place that may read ahead: forward_return(panel, horizons)",
    ),
    "ref(close, 0)": (
        ConfigError,
        "expression 'ref(close, 0)', column 12: ref with n = 0 reads the first value of the history in Qlib, which "
        "changes with where the history starts; use n >= 1, or the series itself for row t",
    ),
    "delta(close, 2.5)": "column 14: n of delta(x, n) must be a whole number of rows >= 1, got 2.5",
    "sum(close, 0.5)": "column 12: n of sum(x, n) must be a whole number of rows >= 1 (0: every row until t), got 0.5",
    "skew(close, 2)": "column 13: n of skew(x, n) must be a whole number of rows >= 3 (0: every row until t), got 2",
    "mean(close, 2.5)": "column 13: n of mean(x, n) must be a whole number of rows >= 1 "
    "(0: every row until t; 0 < n < 1: exponential weights), got 2.5",
    "mean(close, -5)": "column 13: n of mean(x, n) must be a whole number of rows >= 1 "
    "(0: every row until t; 0 < n < 1: exponential weights), got -5",
    "mean(close, 1e12)": "column 13: n of mean(x, n) must be a whole number of rows >= 1 "
    "(0: every row until t; 0 < n < 1: exponential weights), got 1000000000000",
    "cs_winsorize(close, 0.7)": "column 21: limit of cs_winsorize(x, limit) must be a quantile below 0.5 or a number "
    "of MADs from 1 on, got 0.7",
    "cs_winsorize(close, 0)": "column 21: limit of cs_winsorize(x, limit) must be a quantile below 0.5 or a number of "
    "MADs from 1 on, got 0",
    "cs_neutralize(close)": "column 1: cs_neutralize(x, factor, ...) takes 2 or more arguments, got 1",
    "cs_group_mean(close, 3)": "column 22: cs_group_mean(x, group) needs a series here, got the constant 3",
    "std(close, 1)": "column 12: n of std(x, n) must be a whole number of rows >= 2 "
    "(0: every row until t; 0 < n < 1: exponential weights), got 1",
    "ref(close, open)": "column 12: n of ref(x, n) must be a constant, got open",
    "max(open, close)": "column 11: n of max(x, n) must be a constant, got close; for two series use greater(x, y)",
    "quantile(close, 5, 2)": "column 20: q of quantile(x, n, q) must lie in 0..1, got 2",
    "close + maen(close, 3)": "column 9: there is no function 'maen'; the nearest is mean(x, n)",
    "mean(close)": "column 1: mean(x, n) takes 2 arguments, got 1",
    "mean(3, 5)": "column 6: mean(x, n) needs a series here, got the constant 3",
    "mean + 1": "column 1: 'mean' is a function: write mean(x, n), or $mean for a field of that name",
    "close.shift(-1)": "column 6: attributes are not part of the language",
    "close[1]": "column 6: subscripts are not part of the language; use ref(x, n) for the value n rows before",
    "__import__('os')": "column 12: text in quotes is not part of the language",
    'f"{close}"': "column 2: text in quotes is not part of the language",
    "lambda: close": "column 1: 'lambda' is not part of the language",
    "close if open else high": "column 7: an operator or a comma is missing before 'if'",
    "mean(close, n=3)": "column 14: a single '=' means nothing here; arguments go by position, equality is '=='",
    "mean(close, 20)(3)": "column 16: an operator or a comma is missing before '('",
    "$mean(close, 20)": "column 6: an operator or a comma is missing before '('",
    "$ close": "column 1: '$' must be followed by the name of a field, as in $close",
    "$class": "column 1: 'class' is not part of the language",
    "1 < close < 2": "column 1: a chain of comparisons is ambiguous here; write (a < b) and (b < c)",
    "close // 2": "column 8: a value is missing before '/'",
    "close, open": "column 6: a comma belongs between the arguments of a function",
    "mean(close,, 3)": "column 12: a value is missing before ','",
    "mean(*close, 3)": "column 6: a value is missing before '*'",
    "close open": "column 7: an operator or a comma is missing before 'open'",
    "close + ": "column 7: a value is missing after this",
    "close + not open": "column 9: put brackets around 'not ...' here",
    "(close": "column 1: this bracket is never closed",
    "close) + (open": "column 6: this bracket was never opened",
    "  ": "column 1: it is empty; write something like close / ref(close, 5) - 1",
    "5": "column 1: it reads no field; name at least one, as in close",
    "1e999 * close": f"column 1: {OVERFLOW}",
    "close * (1 / 0)": f"column 10: {OVERFLOW}",
    "1_000 + close": "column 1: not a number; write numbers as 20, 0.5 or 1e-3",
    "１２ + close": "column 1: '\\uff11' is not part of the language",
    "close @ open": "column 7: '@' is not part of the language",
    "close\x1b[31m": "column 6: '\\x1b' is not part of the language",
}  # fmt: skip


@pytest.mark.parametrize("text", MESSAGES)
def test_refusals_word_for_word(text):
    wanted = MESSAGES[text]
    kind, message = wanted if isinstance(wanted, tuple) else (ConfigError, wanted)
    with pytest.raises(kind) as caught:
        parse(text)
    assert str(caught.value) == (
        message if message.startswith("expression") else f"expression '{shown(text)}', {message}"
    )
    assert type(caught.value) is kind


def shown(text):
    return "".join(c if c.isprintable() else " " for c in text)


def test_long_and_deep_texts_are_refused_quickly():
    with pytest.raises(ConfigError, match=r"^an expression may have 2000 characters, this one has 2001; split it up$"):
        parse("x" * 2001)
    chains = ["**".join(["x"] * 600), "+".join(["x"] * 999), " and ".join(["x"] * 250), "not " * 400 + "x"]
    nests = ["-" * 1900 + "x", "~" * 1900 + "x", "(" * 900 + "x" + ")" * 900, "abs(" * 51 + "x" + ")" * 51]
    for text in chains + nests:
        with pytest.raises(ConfigError, match="nested deeper than 50 levels; split it up"):
            parse(text)
    for text in ("-" * 50 + "x", "abs(" * 50 + "x" + ")" * 50, "+".join(["x"] * 51)):
        with pytest.raises(ConfigError, match="nested deeper than 50 levels; split it up"):
            parse(text)
    for text in ("-" * 49 + "x", "abs(" * 49 + "x" + ")" * 49, "+".join(["x"] * 50)):
        assert parse(text).fields == ("x",)
    with pytest.raises(ConfigError, match="not a finite number"):
        parse("9**9**9**9 + close")
    with pytest.raises(ConfigError, match="not a finite number"):
        parse("9" * 1900 + " + close")
    long = "close + " * 20 + "maen(close, 2)" + " + close" * 20
    with pytest.raises(ConfigError, match=r"^expression '….*…', column 161: there is no function 'maen'"):
        parse(long)
    with pytest.raises(ConfigError, match=r"^an expression must be text, got int$"):
        parse(5)  # type: ignore[arg-type]


WORDS = ["close", "Ref(", "mean(", "close,", "-1", "20", "1e9", "9**9", "lambda", "if", "and", "not ", "await ", "in"]
WORDS += ["f'", "0x", "1j", "...", "None", "True", ":=", "if(", "cs_rank("]
PIECES = [*"$()+-*/<>,.&|~=!'\"[]{}:;@#\\ \t\n\0éＣ_", *WORDS]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
def test_any_text_parses_or_raises_ours(text):
    parsed, message = outcome(text)
    if parsed is None:
        assert "\n" not in message
        assert message.startswith("expression '")
    else:
        assert parsed.lookback >= 1
        assert parsed.fields


def outcome(text):
    """The expression, or the message of our refusal; any other exception fails the test."""
    try:
        return parse(text), ""
    except HithertoError as error:
        return None, str(error)


def trees(depth=4):
    """Texts of valid expressions over every operator of the table."""
    leaves = st.sampled_from(["close", "$open", "volume", "2", "0.5"])

    def grow(inner):
        return st.sampled_from(sorted(OPERATORS)).flatmap(lambda name: calls(OPERATORS[name], inner))

    return st.recursive(leaves, grow, max_leaves=2**depth)


def calls(operator: Operator, inner):
    series = inner if operator.reads == "row" else inner.map(lambda t: f"({t} + low)")
    numbers = [st.integers(operator.least, 6).map(str) if n == "n" else st.just("0.3") for n in operator.numbers]
    parts = st.tuples(*[series] * len(operator.inputs), *numbers)
    if operator.symbol and len(operator.inputs) == 2:
        return parts.map(lambda p: f"({p[0]}) {operator.symbol} ({p[1]})")
    name = {"and": "And", "or": "Or", "not": "Not"}.get(operator.name, operator.name)
    return parts.map(lambda p: f"{name}({', '.join(p)})")


@given(trees())
def test_canonical_text_parses_to_the_same_tree(text):
    first, refusal = outcome(f"low + {text}")
    if first is None:  # a random constant such as log(-0.5), or a deep tree, is refused, rightly
        assert any(w in refusal for w in ("finite", "deeper", "2000"))
        return
    panel = make_panel(T=9, N=2, halts=0.1)
    again = parse(str(first))
    assert str(again) == str(first)
    assert (again.lookback, again.fields) == (first.lookback, first.fields)
    value = evaluate(first, panel)
    assert value.shape == panel.shape
    assert not np.isinf(value).any()
    assert value.tobytes() == evaluate(again, panel).tobytes()


def test_negative_constants_survive_the_canonical_text(panel):
    for text in ("(-2) ** close", "close ** -2", "close - -1", "-close ** 2", "-(2 ** close)"):
        assert evaluate(parse(str(parse(text))), panel).tobytes() == evaluate(parse(text), panel).tobytes()
    assert str(parse("(-2) ** close")) == "((-2) ** close)"


def test_values_equal_pandas_on_adjusted_prices():
    panel = make_panel(T=50, N=4, halts=0.1, factor=True)
    close = pd.DataFrame(panel.fields["close"] * panel.fields["factor"])
    volume = pd.DataFrame(panel.fields["volume"] / panel.fields["factor"])
    got = evaluate(parse("Mean($close, 5)/$close-1 + Log($volume)"), panel)
    want = close.rolling(5, min_periods=1).mean() / close - 1 + np.log(volume)
    np.testing.assert_allclose(got, want, rtol=1e-12, equal_nan=True)


def test_cross_sections_hold_only_names_that_could_be_known_and_traded():
    panel = make_panel(T=4, N=6)
    universe, suspended = panel.universe.copy(), panel.suspended.copy()
    universe[1, 0] = False
    suspended[1, 1] = True
    panel = panel.replace(universe=universe, suspended=suspended)
    close = panel.view("close")
    rank, z = evaluate(parse("cs_rank(close)"), panel), evaluate(parse("cs_zscore(close)"), panel)
    assert np.isnan(rank[1, :2]).all()
    assert np.isnan(z[1, :2]).all()
    kept = pd.Series(close[1, 2:])
    np.testing.assert_allclose(rank[1, 2:], kept.rank(pct=True), rtol=1e-15)
    np.testing.assert_allclose(z[1, 2:], (kept - kept.mean()) / kept.std(), rtol=1e-12)


def test_comparisons_do_not_count_the_rows_before_a_listing():
    panel = make_panel(T=30, N=3, halts=0.0)
    listed = np.ones(panel.shape, bool)
    listed[:20, 1] = listed[25:, 2] = False
    close = np.where(listed, panel.fields["close"], np.nan)
    close[7, 0] = np.nan  # suspended: the row exists, and no comparison holds on it
    panel = panel.replace(fields={"close": close}, listed=listed, universe=listed.copy())
    up = evaluate(parse("close > ref(close, 1)"), panel)
    assert np.isnan(up[~listed]).all()
    assert np.isfinite(up[listed]).all()
    assert up[7, 0] == up[8, 0] == 0
    rate = evaluate(parse("Mean($close > Ref($close, 1), 10)"), panel)
    alone = panel.since(20)
    assert rate[20:, 1].tobytes() == evaluate(parse("mean(close > ref(close, 1), 10)"), alone)[:, 1].tobytes()
    assert np.isnan(evaluate(parse("not close"), panel)[0, 1])
    np.testing.assert_array_equal(evaluate(parse("count(close > 0, 5)"), panel)[20:24, 1], [1, 2, 3, 4])


def test_a_missing_field_is_named_with_its_feature():
    panel = make_panel(fields=("close",))
    with pytest.raises(DataError) as caught:
        library.build(panel, {"a": "close", "spread": "high / low - 1"})
    assert str(caught.value) == (
        "feature 'spread' needs high, low; these bars hold only close. "
        "Use features of the fields at hand, or read bars that have them."
    )
    with pytest.raises(DataError, match=r"^feature '\(high - low\)' needs high, low; "):
        evaluate(parse("high - low"), panel)


def test_build_names_the_feature_whose_text_is_wrong(panel):
    with pytest.raises(FutureError, match=r"^feature 'tomorrow': expression 'ref\(close, -1\)', column 12: ref asks"):
        library.build(panel, {"tomorrow": "ref(close, -1)"})
    with pytest.raises(ConfigError, match=r"^features: the set is empty; "):
        library.build(panel, {})


def test_shared_parts_are_computed_once_and_then_dropped(panel, monkeypatch):
    seen = []

    def counting(operator):
        def compute(*arguments):
            seen.append(operator.name)
            return operator.compute(*arguments)

        return dataclasses.replace(operator, compute=compute)

    texts = ["mean(close, 20) / close", "Mean($close, 20) - mean(close, 20)", "mean(close, 20)", "mean(close, 20)"]
    plain = [evaluate(parse(t), panel) for t in texts]
    monkeypatch.setattr(module, "OPERATORS", {k: counting(o) for k, o in OPERATORS.items()})
    parsed = [parse(t) for t in texts]
    evaluator = Evaluator(panel, parsed)
    shared = [evaluator.value(e).copy() for e in parsed]
    assert sorted(seen) == ["div", "mean", "sub"]
    assert not evaluator._known
    assert all(a.tobytes() == b.tobytes() for a, b in zip(plain, shared, strict=True))


def test_build_gives_float32_and_documents_infinity(panel):
    out = library.build(panel, {
        "one": "mean(ref(close, 2), 5)", "past": "ema(close, 5)",
        "huge": "close * 1e39", "zero": "close / (open - open)",
    })  # fmt: skip
    assert out.values.dtype == np.float32
    assert out.values.shape == (*panel.shape, 4)
    assert out.names == ("one", "past", "huge", "zero")
    assert out.lookbacks == (7, library.UNBOUNDED, 1, 1)
    assert out.fields == ("close", "open")
    assert np.isnan(out.values[..., 2:]).all()
    want = evaluate(parse("mean(ref(close, 2), 5)"), panel).astype(np.float32)
    assert out.values[..., 0].tobytes() == np.ascontiguousarray(want).tobytes()
