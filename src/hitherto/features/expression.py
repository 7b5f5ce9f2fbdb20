"""Features as text: ``mean(close, 20) / close - 1``, or Qlib's ``Mean($close, 20)/$close-1``, to a tree, to numbers.

Nothing is ever evaluated as Python: the text is cut into known tokens, parsed by ``ast`` and admitted node by node.
The fields read and the lookback follow from the tree; a reference to the future is refused before any number is seen.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, FutureError
from hitherto.features.operators import OPERATORS, Operator
from hitherto.panel import Panel

Floats = NDArray[np.float64]
MAX_LENGTH = 2000
MAX_DEPTH = 50
LONGEST = 240  # characters of a message, without the expression it quotes
MAX_ROWS = 1_000_000
TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)|(?P<field>\$[A-Za-z_]\w*)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])|(?P<op>==|!=|<=|>=|\*\*|[-+*/()<>,&|~])",
    re.ASCII,
)
REFUSED = {
    ".": "attributes are not part of the language",
    "[": "subscripts are not part of the language; use ref(x, n) for the value n rows before",
    "'": "text in quotes is not part of the language",
    '"': "text in quotes is not part of the language",
    "=": "a single '=' means nothing here; arguments go by position, equality is '=='",
    "$": "'$' must be followed by the name of a field, as in $close",
}
BINARY: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "power", ast.BitAnd: "and",
    ast.BitOr: "or", ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne",
    ast.And: "and", ast.Or: "or",
}  # fmt: skip
UNARY: dict[type[ast.AST], str] = {ast.USub: "neg", ast.Not: "not", ast.Invert: "not"}
VALUES = ("name", "field", "number")
FORMS = {"expanding": "0: every row until t", "exponential": "0 < n < 1: exponential weights"}
NO_NUMBERS = ("nan", "inf", "infinity")  # written like a field, meant as a number: no constant may be unknown
ELSE = {"max": "greater", "min": "less"}


@dataclass(frozen=True, eq=False)
class Node:
    """One node of a tree: a field (``op`` "field"), a constant ("constant") or an operator of the table.

    text: canonical, in our spelling; two nodes with one text are one computation. lookback: rows read, row t
    included; inf when recursive, 0 for a constant. numbers: the constant itself, or windows and shares.
    """

    op: str
    text: str
    lookback: float
    inputs: tuple[Node, ...] = ()
    numbers: tuple[float, ...] = ()
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Expression:
    """A parsed feature. ``str()`` gives its canonical text in our spelling, which parses to the same tree.

    text: as written. fields: market fields it reads, sorted. lookback: rows it reads, row t included (inf when
    recursive). is_recursive: it reads every row until t. is_cross_sectional: it reads the other names of row t.
    """

    text: str = field(compare=False)
    canonical: str
    tree: Node = field(compare=False, repr=False)

    @property
    def lookback(self) -> float:
        """Rows read, row t included; inf when recursive."""
        return self.tree.lookback

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the market fields read, sorted."""
        return tuple(sorted(self.tree.fields))

    @property
    def is_recursive(self) -> bool:
        """True when row t depends on every row before it."""
        return math.isinf(self.tree.lookback)

    @property
    def is_cross_sectional(self) -> bool:
        """True when a name's value depends on the other names of its date."""
        return any(n.op in OPERATORS and OPERATORS[n.op].reads == "date" for n in _nodes([self.tree]))

    def __str__(self) -> str:
        return self.canonical


def parse(text: str) -> Expression:
    """Parse a feature's text into an Expression.

    Names are market fields (``close`` or ``$close``); numbers, ``+ - * / **``, comparisons, ``and or not`` (``& | ~``)
    and calls of the operator table, in any letter case. Windows are constant whole numbers of rows.
    Raises FutureError for ``ref`` or ``delta`` with a negative n, ConfigError for all else that is not in the language;
    the message names the expression and the column (counted from 1). At most 2000 characters and 50 levels.
    """
    if not isinstance(text, str):
        raise ConfigError(f"an expression must be text, got {type(text).__name__}")
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"an expression may have {MAX_LENGTH} characters, this one has {len(text)}; split it up")
    parser = _Parser(text)
    tree = parser.node(parser.syntax(), 1)
    if not tree.fields:
        parser.fail(0, "it reads no field; name at least one, as in close")
    return Expression(text.strip(), tree.text, tree)


def evaluate(expression: Expression, panel: Panel, name: str = "") -> Floats:
    """Return the feature on the panel: (T, N) float64, read-only, finite or NaN; prices and volume as adjusted.

    ``name`` is what a DataError calls it when the panel lacks a field. Cross-sectional operators look at the names
    that are listed, in the universe and not suspended; the others are NaN there. Comparisons and logic are 1 or 0 on
    the rows where the name is listed, NaN on the others.
    """
    panel.need(expression.fields, f"feature '{name or expression}'")
    return Evaluator(panel, [expression]).value(expression)


class Evaluator:
    """Evaluates expressions on one panel and computes what they share once; a value is dropped after its last use."""

    def __init__(self, panel: Panel, expressions: Iterable[Expression]) -> None:
        self.panel = panel
        self.mask = panel.listed & panel.universe & ~panel.suspended
        roots = [e.tree for e in expressions]
        self._uses = Counter(n.text for n in roots)
        for node in _nodes(roots):
            self._uses.update({i.text for i in node.inputs})
        self._known: dict[str, Floats] = {}

    def value(self, expression: Expression) -> Floats:
        """Return (T, N) float64; each expression given at the start may be asked for as often as it was given."""
        return np.broadcast_to(self._value(expression.tree), self.panel.shape)

    def _value(self, node: Node) -> Floats:
        out = self._known.get(node.text)
        if out is None:
            out = self._compute(node)
            self._known[node.text] = out
        self._uses[node.text] -= 1
        if self._uses[node.text] <= 0:
            del self._known[node.text]
        return out

    def _compute(self, node: Node) -> Floats:
        if node.op == "constant":
            return np.asarray(node.numbers[0])
        if node.op == "field":
            return np.asarray(self.panel.view(next(iter(node.fields))), np.float64)
        operator = OPERATORS[node.op]
        distinct = {i.text: i for i in node.inputs}
        values = {text: self._value(i) for text, i in distinct.items()}  # once each, as they were counted
        last = (self.mask,) if operator.reads == "date" else ()
        out = operator.compute(*(values[i.text] for i in node.inputs), *node.numbers, *last)
        return np.where(self.panel.listed, out, np.nan) if operator.truth else out


def _nodes(roots: Iterable[Node]) -> Iterable[Node]:
    """Yield every distinct node (by canonical text) below ``roots``, once."""
    seen: set[str] = set()
    todo = list(roots)
    while todo:
        node = todo.pop()
        if node.text not in seen:
            seen.add(node.text)
            todo.extend(node.inputs)
            yield node


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.dollars: set[int] = set()

    def fail(self, at: int, message: str, kind: type[ConfigError | FutureError] = ConfigError) -> NoReturn:
        """Raise ``kind`` for the character ``at`` (from 0)."""
        raise kind(self.message(at, message))

    def message(self, at: int, message: str) -> str:
        """Return one line that names the expression and the column of the character ``at`` (from 0)."""
        shown = "".join(c if c.isprintable() else " " for c in self.text)
        start = max(0, at - 60)
        part = ("…" if start else "") + shown[start : at + 60] + ("…" if at + 60 < len(shown) else "")
        if len(message) > LONGEST:  # it quotes a name or an argument of that length
            message = f"{message[: LONGEST // 2]}…{message[-LONGEST // 2 :]}"
        return f"expression '{part}', column {at + 1}: {message}"

    def syntax(self) -> ast.expr:
        """Check the tokens, then let Python's own parser build the tree; columns stay those of the text."""
        python = self._python()
        try:
            # the brackets allow leading space; the tokens were checked, so they cannot be closed early
            return ast.parse(f"({python})", mode="eval").body
        except SyntaxError as error:
            at = min(max((error.offset or 1) - 2, 0), max(len(self.text) - 1, 0))
            self.fail(at, "this does not parse; write it as in mean(close, 20) / close - 1")
        except (ValueError, RecursionError, MemoryError):
            self.fail(0, f"it is nested deeper than {MAX_DEPTH} levels; split it up")

    def _python(self) -> str:
        """Return the text with each token in Python's spelling, of the same length; refuse what cannot follow."""
        out: list[str] = []
        brackets: list[tuple[int, bool]] = []  # where each open one stands, and whether it opens a call
        before, at = "", 0
        while at < len(self.text):
            match = TOKEN.match(self.text, at)
            if match is None:
                self._refuse(at)
            token, kind = match.group(), str(match.lastgroup)
            if kind == "space":
                out.append(" " * len(token))
            else:
                if kind == "name" and token in ("and", "or", "not"):
                    kind = token
                self._follows(token, kind, before, at, brackets)
                if kind == "field":
                    self.dollars.add(at + 1)
                out.append("If" if token == "if" else token.replace("$", " "))
                before = token if kind == "op" else kind
            at = match.end()
        end = max(len(self.text.rstrip()) - 1, 0)
        if not before:
            self.fail(0, "it is empty; write something like close / ref(close, 5) - 1")
        if before not in (*VALUES, ")"):
            self.fail(end, "a value is missing after this")
        if brackets:
            self.fail(brackets[-1][0], "this bracket is never closed")
        return "".join(out)

    def _follows(self, token: str, kind: str, before: str, at: int, brackets: list[tuple[int, bool]]) -> None:
        """Check that a token may follow the one ``before`` it, and keep track of the brackets."""
        value_before = before in (*VALUES, ")")
        word = token.removeprefix("$")
        if kind in ("name", "field") and keyword.iskeyword(word) and token != "if":
            self.fail(at, f"'{word}' is not part of the language")
        if kind in VALUES or kind == "not" or token == "~" or (token == "(" and before != "name"):
            if value_before:
                self.fail(at, f"an operator or a comma is missing before '{token}'")
            if kind == "not" and before not in ("", "(", ",", "and", "or", "not"):
                self.fail(at, "put brackets around 'not ...' here")
        elif not value_before and token not in ("+", "-"):
            self.fail(at, f"a value is missing before '{token}'")
        if token == "(":
            brackets.append((at, before == "name"))
            if len(brackets) > MAX_DEPTH:
                self.fail(at, f"it is nested deeper than {MAX_DEPTH} levels; split it up")
        elif token == ")" and not brackets:
            self.fail(at, "this bracket was never opened")
        elif token == ")":
            brackets.pop()
        elif token == "," and not (brackets and brackets[-1][1]):
            self.fail(at, "a comma belongs between the arguments of a function")

    def _refuse(self, at: int) -> NoReturn:
        character = self.text[at]
        if character.isdigit() and character.isascii():
            self.fail(at, "not a number; write numbers as 20, 0.5 or 1e-3")
        self.fail(at, REFUSED.get(character, f"{character!a} is not part of the language"))

    def node(self, syntax: ast.expr, depth: int) -> Node:
        """Admit one node of Python's tree."""
        at = syntax.col_offset - 1
        if depth > MAX_DEPTH:
            self.fail(at, f"it is nested deeper than {MAX_DEPTH} levels; split it up")
        match syntax:
            case ast.Name(id=name):
                return self._field(name, at)
            case ast.Constant(value=int() | float() as value):
                return self._constant(value, at)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.node(syntax.operand, depth + 1)
            case ast.UnaryOp(op=op, operand=operand):
                return self._operate(OPERATORS[UNARY[type(op)]], [self.node(operand, depth + 1)], (), at)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in BINARY:
                inputs = [self.node(left, depth + 1), self.node(right, depth + 1)]
                return self._operate(OPERATORS[BINARY[type(op)]], inputs, (), at)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in BINARY:
                inputs = [self.node(left, depth + 1), self.node(right, depth + 1)]
                return self._operate(OPERATORS[BINARY[type(op)]], inputs, (), at)
            case ast.Compare():
                self.fail(at, "a chain of comparisons is ambiguous here; write (a < b) and (b < c)")
            case ast.BoolOp(op=op, values=values):
                nodes = [self.node(v, depth + len(values) - 1) for v in values]
                return reduce(lambda a, b: self._operate(OPERATORS[BINARY[type(op)]], [a, b], (), at), nodes)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments, depth, at)
        known = "it knows fields, numbers, + - * / **, comparisons and calls"
        raise ConfigError(self.message(at, f"not part of the language; {known}"))

    def _field(self, name: str, at: int) -> Node:
        if name.startswith("__") or (name.lower() in NO_NUMBERS and at not in self.dollars):
            self.fail(at, f"'{name}' is not part of the language")
        taken = name.lower().rstrip("_") in OPERATORS
        if taken and at not in self.dollars:
            signature = OPERATORS[name.lower().rstrip("_")].signature
            self.fail(at, f"'{name}' is a function: write {signature}, or ${name} for a field of that name")
        return Node("field", f"${name}" if taken else name, 1, fields=frozenset([name]))

    def _constant(self, value: float, at: int) -> Node:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail(at, "this constant is not a finite number (an overflow, a division by zero or a bad root)")
        whole = number.is_integer() and abs(number) < 1e15
        return Node("constant", str(int(number)) if whole else repr(number), 0, numbers=(number,))

    def _operate(self, operator: Operator, inputs: list[Node], numbers: tuple[float, ...], at: int) -> Node:
        if operator.reads == "row" and all(i.op == "constant" for i in inputs):
            return self._constant(float(operator.compute(*(i.numbers[0] for i in inputs))), at)
        lookback = max(i.lookback for i in inputs)
        if operator.reads == "past" or (operator.reads == "window" and numbers[0] < 1):
            lookback = math.inf
        elif operator.reads in ("shift", "window"):
            lookback += numbers[0] - (operator.reads == "window")
        fields = frozenset().union(*(i.fields for i in inputs))
        return Node(operator.name, _spell(operator, inputs, numbers), lookback, tuple(inputs), numbers, fields)

    def _call(self, name: str, arguments: list[ast.expr], depth: int, at: int) -> Node:
        operator = OPERATORS.get(name.lower().rstrip("_"))
        if operator is None:
            near = difflib.get_close_matches(name.lower(), OPERATORS, n=1, cutoff=0.0)[0]
            self.fail(at, f"there is no function '{name}'; the nearest is {OPERATORS[near].signature}")
        takes = len(operator.inputs) + len(operator.numbers)
        if len(arguments) < takes or (len(arguments) > takes and not operator.variadic):
            more = " or more" if operator.variadic else ""
            self.fail(at, f"{operator.signature} takes {takes}{more} arguments, got {len(arguments)}")
        places = [a.col_offset - 1 for a in arguments]
        nodes = [self.node(a, depth + 1) for a in arguments]
        split = len(nodes) - len(operator.numbers)
        series, rest = nodes[:split], nodes[split:]
        for node, place in zip(series, places, strict=False):
            if node.op == "constant" and operator.reads != "row":
                self.fail(place, f"{operator.signature} needs a series here, got the constant {node.text}")
        numbers = [self._number(operator, *x) for x in zip(operator.numbers, rest, places[len(series) :], strict=True)]
        return self._operate(operator, series, tuple(numbers), at)

    def _number(self, operator: Operator, letter: str, node: Node, at: int) -> float:
        """Return a window or a share: constant, whole and in range."""
        if node.op != "constant":
            hint = f"; for two series use {ELSE[operator.name]}(x, y)" if operator.name in ELSE else ""
            self.fail(at, f"{letter} of {operator.signature} must be a constant, got {node.text}{hint}")
        value = node.numbers[0]
        if letter == "q":
            if not 0 <= value <= 1:
                self.fail(at, f"q of {operator.signature} must lie in 0..1, got {node.text}")
            return value
        if letter == "limit":
            if not (0 < value < 0.5 or value >= 1):
                range_ = "a quantile below 0.5 or a number of MADs from 1 on"
                self.fail(at, f"limit of {operator.signature} must be {range_}, got {node.text}")
            return value
        if operator.reads == "shift" and value < 0:
            ahead = f"{node.text[1:]} row{'' if value == -1 else 's'} after t"
            self.fail(
                at,
                f"{operator.name} asks for the value {ahead}, at t only rows up to t are known; use n >= 1. "
                "labels.py is the only place that may read ahead: forward_return(panel, horizons)",
                FutureError,
            )
        if operator.reads == "shift" and value == 0:
            self.fail(
                at,
                f"{operator.name} with n = 0 reads the first value of the history in Qlib, which changes with where "
                "the history starts; use n >= 1, or the series itself for row t",
            )
        if value == 0 and "expanding" in operator.forms:
            return 0
        if 0 < value < 1 and "exponential" in operator.forms:
            return value
        if not value.is_integer() or not operator.least <= value <= MAX_ROWS:
            least = f"a whole number of rows >= {operator.least}"
            rest = "; ".join(FORMS[f] for f in operator.forms)
            self.fail(at, f"n of {operator.signature} must be {least}{rest and f' ({rest})'}, got {node.text}")
        return int(value)


def _spell(operator: Operator, inputs: list[Node], numbers: tuple[float, ...]) -> str:
    """Return the canonical text of a call."""
    texts = [i.text for i in inputs]
    if operator.symbol:
        texts = [f"({t})" if t.startswith("-") else t for t in texts]
        return f"({operator.symbol}{texts[0]})" if len(texts) == 1 else f"({f' {operator.symbol} '.join(texts)})"
    return f"{operator.name}({', '.join([*texts, *(str(n) for n in numbers)])})"
