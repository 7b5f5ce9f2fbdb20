"""The static reader: which line it points at, when it says nothing, and that it never runs what it reads."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import linecache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_panel

from hitherto.audit import AuditPlan, FileTarget, FunctionTarget, audit, from_function, from_module
from hitherto.audit.locate import behind, lines, mark, setting_line, study_file
from hitherto.audit.signs import SIGNS, constants, number
from hitherto.audit.verdict import CLASSES, Finding

CORPUS = Path(__file__).resolve().parents[1] / "corpus" / "items"


def at(text, leak, **where):
    return [row for _, row in lines(text, leak, **where)]


# Source -> the line that carries it; every text also holds an honest neighbour that must not be named.
SOURCES = [
    ("L01", "x = close.shift(-1)", "y = close.shift(1)"),
    ("L01", "x = close.pct_change(-STEP)", "y = close.pct_change(STEP)"),
    ("L01", "x = np.roll(values, -1)", "y = np.roll(values, 1)"),
    ("L01", "x = torch.roll(values, shifts=-1, dims=1)", "y = torch.roll(values, shifts=1, dims=1)"),
    ("L01", "x = close.diff(periods=-1)", "y = close.diff(periods=1)"),
    ("L01", "x = values[t + 1]", "y = values[t - 1]"),
    ("L02", "x = close.rolling(5, center=True).mean()", "y = close.rolling(5, center=False).mean()"),
    ("L02", "x = filtfilt(b, a, close)", "y = lfilter(b, a, close)"),
    ("L02", "x = np.convolve(close, w, 'same')", "y = np.convolve(close, w, 'full')[: len(close)]"),
    ("L02", "x = savgol_filter(close, 11, 2)", "y = close.ewm(span=11).mean()"),
    ("L02", "x = values[::-1]", "y = values[::2]"),
    ("L03", "x = close.bfill()", "y = close.ffill()"),
    ("L03", "x = close.fillna(close.median())", "y = close.fillna(0)"),
    ("L04", "x = scaler.fit_transform(a)", "y = scaler.transform(a)"),
    ("L04", "x = close - close.mean()", "y = close - close.rolling(20).mean()"),
    ("L04", "x = close / np.nanmax(close)", "y = close / np.nanmax(close[:t])"),
    ("L04", "x = close.rank(pct=True)", "y = close.rank(axis=1, pct=True)"),
    ("L06", "self.norm = nn.BatchNorm1d(8)", "self.other = nn.LayerNorm(8)"),
    ("L06", "x = h - h.mean(0)", "y = h - h.mean(-1)"),
    ("L07", "self.count += 1", "self.other = 1"),
    ("L08", "self.conv = nn.Conv1d(2, 8, 3, padding=1)", "self.other = nn.Conv1d(2, 8, 3, padding=0)"),
    ("L09", "self.rnn = nn.LSTM(2, 8, bidirectional=True)", "self.other = nn.LSTM(2, 8, bidirectional=False)"),
    ("L10", "self.mix = nn.MultiheadAttention(8, 2)", "self.other = nn.Linear(8, 2)"),
    ("L12", "x = pd.merge_asof(a, b, direction='forward')", "y = pd.merge_asof(a, b, direction='backward')"),
    ("L12", "x = a.resample('W', label='left').last()", "y = a.resample('W', label='right').last()"),
    ("L13", "x = KFold(5, shuffle=True)", "y = KFold(5, shuffle=False)"),
    ("L18", "x = SelectKBest(k=3).fit(a, b)", "y = a[kept]"),
    ("L20", "model.fit(a, b, eval_set=[(c, d)])", "model.fit(a, b)"),
    ("L25", "x = frame['member'] > 0", "y = frame['close'] > 0"),
    ("L28", "x = frame['factor'] / frame['factor'].iloc[-1]", "y = frame['factor'] / frame['factor'].iloc[0]"),
    ("L32", "x = pd.read_csv('prices_full.csv')", "y = frame.copy()"),
    ("L32", "x = np.arange(n) / len(frame)", "y = np.arange(n)"),
]  # fmt: skip


@pytest.mark.parametrize(("leak", "guilty", "honest"), SOURCES)
def test_the_line_that_carries_it_is_named_and_its_neighbour_is_not(leak, guilty, honest):
    text = f"STEP = 3\n{honest}\n{guilty}\n{honest}\n"
    assert lines(text, leak) == [(3, guilty)]
    assert guilty not in at(f"STEP = 3\n{honest}\n", leak)


def test_only_what_the_function_uses_is_read():
    text = (
        "def unused(f):\n    return f.close.shift(-1)\n\n"
        "def helper(f):\n    return f.close.shift(-2)\n\n"
        "def signal(f):\n    return helper(f)\n"
    )
    assert lines(text, "L01", name="signal") == [(5, "return f.close.shift(-2)")]
    assert lines(text, "L01", name="unused") == [(2, "return f.close.shift(-1)")]
    assert len(lines(text, "L01")) == 2
    assert lines(text, "L01", name="nowhere") == []


def test_a_column_is_read_before_the_rest():
    text = (
        "def signal(f):\n    out = {'a': f.close.shift(-1), 'b': f.close.shift(-2)}\n"
        "    frame['c'] = f.close.shift(-3)\n    return frame.assign(d=f.close.shift(-4))\n"
    )
    assert [k for k, _ in lines(text, "L01", column="c")] == [3]
    assert [k for k, _ in lines(text, "L01", column="d")] == [4]
    assert [k for k, _ in lines(text, "L01", column="a")] == [2]
    assert [k for k, _ in lines(text, "L01", column="nothing like it")] == [2, 3, 4]


def test_chains_over_several_lines_are_named_where_the_call_is():
    text = "x = (\n    close\n    .rolling(5, center=True)\n    .mean()\n)\n"
    assert lines(text, "L02") == [(3, ".rolling(5, center=True)")]


def test_at_most_three_lines_and_none_where_nothing_fits():
    text = "".join(f"x{i} = close.shift(-{i + 1})\n" for i in range(9))
    assert [k for k, _ in lines(text, "L01")] == [1, 2, 3]
    assert lines("x = close.shift(3)\n", "L01") == []
    assert lines("this is no python", "L01") == []
    assert lines("x = close.shift(-1)\n", "L99") == []


def test_constants_are_worked_out():
    tree = ast.parse("A = 3\nB, C = -A, A * 2\nD = True\n")
    known = constants(tree)
    assert known == {"A": 3.0, "B": -3.0, "C": 6.0}
    assert number(ast.parse("A + B - 1", mode="eval").body, known) == -1.0
    assert number(ast.parse("f(A)", mode="eval").body, known) is None


def test_what_is_too_deep_is_left_alone():
    for deep in ("x = " + "+".join(["1"] * 20_000), "x = " + "(" * 500 + ")" * 500, "x = " + "-" * 20_000 + "1"):
        assert lines(deep + "\ny = close.shift(-1)\n", "L01") in ([], [(2, "y = close.shift(-1)")])


def test_a_file_name_cannot_write_to_the_terminal(tmp_path, panel):
    path = tmp_path / "a\x1b[31m.py"
    path.write_text("def signal(frame):\n    return frame.close.shift(-1)\n")
    with FileTarget(path) as target:
        (found,) = mark([Finding("L01", target.name, "P2", 1, 1)], AuditPlan(panel, (target,)))
    assert found.source == "a?[31m.py:2"


PIECES = st.sampled_from([
    "x", "shift", "(", ")", "[", "]", ":", "-1", ".", "lambda", "=", "\n", " ", "def f():", "0", "'a'", "**", "rolling",
    "center=True", "{", "}", ",", "\x00", "class A:", "return", "é", "+",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(sorted(SIGNS)))
def test_any_text_is_read_without_an_error(text, leak):
    for k, row in lines(text, leak):
        assert text.splitlines()[k - 1].strip() == row


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(SOURCES), st.sampled_from(sorted(SIGNS)))
def test_every_sign_takes_every_node(source, leak):
    _, guilty, honest = source
    assert len(lines(f"{honest}\n{guilty}\n", leak)) <= 2


def test_nothing_is_run(tmp_path):
    """Reading a file that would write when imported or called leaves nothing behind."""
    mark_file = tmp_path / "ran"
    source = f"open({str(mark_file)!r}, 'w').write('x')\ndef signal(f):\n    return f.shift(-1)\n"
    (tmp_path / "mine.py").write_text(source)
    target = FileTarget(tmp_path / "mine.py")
    found = mark([Finding("L01", "mine", "P2", 1, 1)], AuditPlan(make_panel(T=5), (target,)))
    assert found[0].source == "mine.py:3"
    assert not mark_file.exists()
    target.close()


# ---- from a target to the lines of whoever wrote it ----
def peek(frame):
    return frame["close"].shift(-1)  # the guilty line


PEEK = peek.__code__.co_firstlineno + 1


class Mean:
    def fit(self, frame):
        self.mean = frame.close.groupby("symbol").mean()
        return self

    def predict(self, frame):
        return frame.close / frame.index.get_level_values("symbol").map(self.mean)


class Bomb:
    """Its attributes must not be asked: they are somebody's code."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        self.asked.append(name)
        return 0

    def __call__(self, frame):
        return frame.close.shift(-1)


def test_functions_are_found_behind_targets():
    direct = behind(from_function(peek))
    assert [(c.name, c.line) for c in direct] == [("peek", PEEK - 1)]
    assert behind(from_function(functools.partial(peek))) == direct
    assert behind(FunctionTarget("f", lambda p: {"f": peek(p)}))[0].name == "<lambda>"
    assert behind(np.mean) == []
    assert behind(len) == []
    bomb = Bomb()
    (found,) = behind(FunctionTarget("f", bomb))
    assert found.name == "Bomb"
    assert bomb.asked == []


def test_a_wrapped_function_is_found_below_its_wrapper():
    @functools.wraps(peek)
    def wrapper(frame):
        return peek(frame)

    assert {c.name for c in behind(from_function(wrapper))} == {"wrapper"}


@pytest.fixture(scope="module")
def panel():
    return make_panel(T=150, N=12, seed=3)


def test_an_audit_names_the_line_and_calls_it_a_guess(panel):
    report = audit(peek, panel)
    (found,) = report.findings
    assert found.source == f"test_audit_locate.py:{PEEK}"
    assert found.line().startswith(f"LEAK L01 at peek (test_audit_locate.py:{PEEK}) reach=+1 bar cuts=")
    (told,) = json.loads(report.to_json())["findings"]
    assert (told["source"], told["located"]) == (found.source, "by reading, not by experiment")
    assert f"likely {found.source} (by reading, not by experiment)" in report.to_html()
    assert found.line() in report.to_text()


def test_a_lambda_and_a_pipeline_are_located(panel):
    (found,) = audit(lambda f: f.close.diff(-1), panel).findings
    assert linecache.getline(__file__, int(found.source.split(":")[1])).count("diff(-1)") == 1
    (fitted,) = audit(Mean, panel).findings
    assert "groupby" in linecache.getline(__file__, int(fitted.source.split(":")[1]))


def test_a_module_is_located(panel):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv1d(2, 1, 3, padding=1)

        def forward(self, x):
            return self.first(x.transpose(1, 2))[:, 0]

    net = Net().eval()
    with torch.no_grad():
        net.first.weight.copy_(torch.ones(1, 2, 3))
    plan = from_module(net, ("close", "volume"), name="net").plan(panel)
    found = audit(plan).findings
    assert {f.leak for f in found} == {"L08"}
    row = linecache.getline(__file__, int(found[0].source.split(":")[1]))
    assert "nn.Conv1d(2, 1, 3, padding=1)" in row


def test_nothing_but_the_source_changes(panel):
    plan = AuditPlan(panel, (from_function(peek),))
    given_in = [
        Finding("L01", "peek", "P2", 3, 4, 1), Finding("L03", "peek", "P2", 3, 4, 1),
        Finding("L01", "stranger", "P2", 3, 4, 1), Finding("L32", "mine.py:4", "P12", 1, 1),
        Finding("L01", "peek", "P2", 3, 4, 1, source="given.py:7"),
    ]  # fmt: skip
    out = mark(given_in, plan)
    assert [f.source for f in out] == [f"test_audit_locate.py:{PEEK}", "", "", "", "given.py:7"]
    assert [dataclasses.replace(f, source="") for f in out[:4]] == given_in[:4]


def test_a_study_file_names_the_line_of_its_feature(tmp_path, panel):
    from hitherto.study import Study

    text = (
        'name = "mine"\n[market]\nbars = "sample:us20"\n[features.expressions]\n# r1 comes first\n'
        'r1 = "close / ref(close, 1) - 1"\n"odd name" = "close"\n'
    )
    (tmp_path / "mine.toml").write_text(text)
    study = Study.load(tmp_path / "mine.toml")
    assert study_file(study) == tmp_path / "mine.toml"
    plan = AuditPlan(panel, (FunctionTarget("features", peek),))
    findings = [Finding("L01", f"features.{c}", "P2", 1, 1) for c in ("r1", "odd name", "absent")]
    assert [f.source for f in mark(findings, plan, study)] == ["mine.toml:6", "mine.toml:7", ""]
    assert study_file(Study(panel, models=[{"kind": "zero"}], features={"expressions": {"r1": "close"}})) is None
    assert study_file(object()) is None
    assert study_file(peek) is None


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [("a = 1\nz = 2\n", "z", 2), ("zz = 1\n", "z", 0), ("features.expressions.z = '1'\n", "z", 1), ("# z\n", "z", 0),
     ("x = {z = '1', y = '2'}\n", "y", 1), ("", "z", 0), ("z = 1", "", 0), ("'a b' = 1", "a b", 1)],
)  # fmt: skip
def test_settings_are_found_in_toml(text, key, line):
    assert setting_line(text, key) == line


# ---- on the corpus: a planted item is located in most classes that code can carry ----
CODE = [f"L{i:02d}" for i in (*range(1, 13), 17, 18, 20, 25, 26, 28, 31)]


def items():
    for path in sorted(CORPUS.glob("l*.py")):
        leak = path.stem[:3].upper()
        if leak in CODE and "splits(" not in path.read_text() and "ITEM" in path.read_text():
            yield path, leak


def test_the_corpus_is_located_in_nine_of_ten():
    found = {path.stem: bool(lines(path.read_text(), leak)) for path, leak in items()}
    assert len(found) > 90
    assert sum(found.values()) >= 0.9 * len(found), [name for name, ok in found.items() if not ok]


def test_every_class_with_signs_is_a_class():
    assert set(SIGNS) <= set(CLASSES)
