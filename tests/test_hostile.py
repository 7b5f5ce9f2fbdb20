"""Two hundred malformed or hostile expressions: each ends in one line of ours, and none of them runs anything."""

import builtins
import os
import subprocess

import pytest

from hitherto.errors import ConfigError, FutureError, HithertoError
from hitherto.features.expression import parse
from hitherto.features.operators import OPERATORS

WRITTEN = [
    # imports and calls of Python
    "__import__('os').system('id')", "__import__(os)", "__import__", "$__import__", "__builtins__", "__name__ + close",
    "eval(close)", "exec(close)", "open('x')", "compile(close, 1, 2)", "getattr(close, 1)", "globals()", "locals()",
    "print(close)", "exit()", "breakpoint()", "input()", "type(close)",
    "vars(close)", "os.system(close)", "help(close)",
    "import os", "from os import system", "import os; close", "close; import os", "vars()", "__debug__ + close",
    # attributes and subscripts
    "close.__class__", "().__class__.__bases__[0].__subclasses__()", "close.shift(-1)", "close.values", "close . real",
    "1.0.real", "close.__class__.__mro__[1]", "close[0]", "close[-1]", "close[::-1]", "close[close]", "[close][0]",
    "{close}", "{'a': close}", "[]", "()", "(,)", "(close,)", "close[", "close]", "}{",
    # other constructs of Python
    "lambda: close", "lambda x: x", "(lambda: close)()", "[x for x in close]",
    "{x for x in close}", "(x for x in close)",
    "{x: x for x in close}", "[*close]", "mean(*close, 3)", "mean(**close)", "mean(close, n=5)", "mean(close, *5)",
    "(y := close)", "y := close", "y = close", "close += 1",
    "close if open else high", "close if open", "if close: open",
    "f'{close}'", "f\"{close!r}\"", "'close'", '"close"', "b'close'", "'''close'''", "r'close'", "`close`",
    "async close", "await close", "yield close", "yield", "async def f(): pass", "def f(): pass", "class A: pass",
    "return close", "raise close", "assert close", "del close", "pass", "global close", "with close", "for x in close",
    "while close", "try: close", "close is open", "close is not open", "close in open", "close not in open", "None",
    "close + None", "True", "close * False", "close and True", "...",
    "close + ...", "@close", "close @ open", "close -> 1",
    "close // 2", "close % 2", "close << 2", "close >> 2", "close ^ 2", "close <> open", "close ! open", "!close",
    "close && open", "close || open", "close ? open : high", "close => 1", "close =< 1", "close === open", "#close",
    "close # comment", "close \\ open", "close \\\n open", "$", "$$close", "$1", "$(close)", "${close}", "$close$open",
    # numbers
    "nan", "close + nan", "close * inf", "Infinity", "close - NaN", "close / 0x10", "0b1 + close", "0o7 + close",
    "1_000 * close", "1j * close", "1e + close", "1e999 * close", "-1e999 + close", "1.2.3 + close", "1..2", "012abc",
    "9**9**9 + close", "9**9**9**9", "close ** (9**9**9)", "10**400 * close", "close * (1 / 0)", "log(0) * close",
    "(0 - 8) ** 0.5 + close", "9" * 500 + "* close", "close * (0 / 0)", "5", "1 + 2", "abs(-3)", "1e308 * 10 * close",
    # windows
    "ref(close, -1)", "Ref($close, -2)/Ref($close, -1)-1", "ref(close, 0)", "delta(close, -1)", "delta(close, 0)",
    "mean(close, -1)", "mean(close, open)", "mean(close, 2.5)", "mean(close, 1e9)", "mean(close, close > 0)",
    "mean(close, 9**9**9)", "mean(close, ref(close, 1))", "mean(close, -0.5)", "std(close, 1)", "skew(close, 2)",
    "kurt(close, 3)", "quantile(close, 5, 1.5)", "quantile(close, 5, -0.1)", "quantile(close, 5)", "sum(close, 0.5)",
    "quantile(close, 5, open)", "corr(close, open, 1)", "cs_winsorize(close, 0.5)", "cs_winsorize(close, open)",
    "ref(close, 1, 2)", "ref(close)", "ref()", "mean(3, 5)", "cs_rank(3)", "mean", "mean + 1", "corr(close, 3, 5)",
    # grammar
    "", " ", "\t\n", "+", "close +", "* close", "close close", "close 5", "5 close", "(close", "close)", ")(", "(()",
    "close,", ",", "close, open", "mean(close,, 5)", "mean(,)", "mean(close 5)", "mean(close, 5))", "not", "close not",
    "and close", "close or", "1 < close < 2", "close == open == high", "close (5)", "(close)(5)", "mean(close, 5)(5)",
    # characters
    "close\x00", "\x00", "close\x1b[31m", "close\u2028+ open", "close\u00a0+ open",
    "\ufeffclose", "cl\u043ese", "\u0441lose",
    "c\u0142ose", "close \u2212 1", "close \u00d7 2", "close \u00f7 2",
    "\uff43lose", "\uff11\uff12 + close", "\u0661 + close",
    "clos\u0435", "close\u200b", "\u202eclose", "\u6536\u76d8\u4ef7", "close \U0001f4c8",
    "\ud800", "close\u0301", "mean(close\uff0c 5)",
]  # fmt: skip


def generated():
    """Families that grow without end: depth, length, and every operator called wrongly."""
    for depth in (51, 200, 900):
        yield "(" * depth + "close" + ")" * depth
        yield "-" * depth + "close"
        yield "not " * min(depth, 480) + "close"
    for depth in (51, 300):
        yield "abs(" * depth + "close" + ")" * depth
        yield "abs(" * depth
        yield "+".join(["close"] * depth)
        yield "**".join(["close"] * depth)
        yield "mean(" * min(depth, 200) + "close" + ", 2)" * min(depth, 200)
    for word in ("and", "or", ">", "=="):
        yield f" {word} ".join(["close"] * 120)
    yield from ("close + " * 1250, "x" * 10_240, "(" * 10_240, "9" * 10_240, "close " * 1700, "\x00" * 10_240)
    yield "x" * 1990 + "(1)"
    for operator in OPERATORS.values():
        if operator.symbol:
            continue
        yield f"{operator.name}()"
        yield f"{operator.name}({', '.join(['close'] * 9)}, 1, 2)"


HOSTILE = list(dict.fromkeys([*WRITTEN, *generated()]))


def refusal(text):
    with pytest.raises(HithertoError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_each_is_refused_in_one_line(text, monkeypatch):
    for module, name in ((os, "system"), (subprocess, "Popen"), (builtins, "eval"), (builtins, "exec")):
        monkeypatch.setattr(module, name, None)  # whoever calls one of these fails with a TypeError
    error = refusal(text)
    message = str(error)
    assert type(error) in (ConfigError, FutureError)
    assert len(message) < 400
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert message.startswith(("expression '", "an expression may have 2000 characters, "))


def test_there_are_two_hundred_and_each_looks_ahead_or_is_wrong():
    assert len(HOSTILE) >= 200
    ahead = [t for t in HOSTILE if isinstance(refusal(t), FutureError)]
    assert ahead == ["ref(close, -1)", "Ref($close, -2)/Ref($close, -1)-1", "delta(close, -1)"]


def test_harmless_neighbours_still_parse():
    near = [
        "(close)",
        "close + -1",
        "$nan",
        "nan_count + close",
        "not close",
        "-(-(-close))",
        "mean(close, 2 + 3)",
        "_x",
    ]
    near += ["close\n+ open", "1e3 * close", "quantile(close, 5, 1)", "abs(" * 48 + "close" + ")" * 48, "x" * 1990]
    near += ["+".join(["close"] * 50), "(3 > 2) * close", "import_volume", "evaluation", "classes + $iff", "Log(close)"]
    for text in near:
        assert parse(text).fields
