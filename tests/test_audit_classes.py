"""The 32 classes: cures, their place in a taxonomy, which probe shows which; and the names that P1 and P2 give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_panel

from hitherto.audit import AuditPlan, AuditReport, Finding, ProbeResult, audit, from_function, made_up_panel
from hitherto.audit.classes import CLASSES, NEEDS, RELATIONS, SHOWS, TAXONOMY, compact, covered, spans, standing
from hitherto.audit.probes.naming import Hit, by_field, steps, stepwise
from hitherto.audit.tables import plan_from_fills, plan_from_returns

ROOT = Path(__file__).resolve().parents[1]


# ---- the table ----
def test_there_are_32_classes_with_a_cure_and_a_place():
    assert list(CLASSES) == [f"L{i:02d}" for i in range(1, 33)]
    for name, one in CLASSES.items():
        assert one.what, name
        assert one.kind in TAXONOMY, name
        for text in (one.what, one.fix):
            assert text[0].islower(), name
            assert not text.endswith("."), name
    assert len({one.what for one in CLASSES.values()}) == 32


def test_the_taxonomy_is_kapoor_and_narayanans():
    """Three families, eight types, numbered as in the paper's table."""
    assert list(TAXONOMY) == ["L1.1", "L1.2", "L1.3", "L1.4", "L2", "L3.1", "L3.2", "L3.3"]
    assert CLASSES["L16"].taxonomy == "L1.4 duplicates in datasets"
    assert CLASSES["L18"].taxonomy == "L1.3 feature selection on training and test set"
    assert CLASSES["L13"].taxonomy == "L3.1 temporal leakage"
    assert CLASSES["L22"].taxonomy == "nearest: L2 features that are not legitimate"
    assert {one.kind for one in CLASSES.values()} == set(TAXONOMY)  # every type has a class of ours


def test_the_doc_page_has_every_class_in_these_words():
    page = (ROOT / "docs" / "leak_classes.md").read_text()
    for name, one in CLASSES.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} ")]
        shown = " ".join(p for p in SHOWS if name in SHOWS[p])
        for part in (one.what, one.fix, one.taxonomy, shown):
            assert part in row, (name, part)


def test_what_a_probe_is_said_to_show_moved_it_or_is_named_by_it():
    """Against the stored matrix of the corpus, so that "looked for" is never said of a probe that cannot see it."""
    items = json.loads((ROOT / "corpus" / "matrix.json").read_text())["items"].values()
    moved = {(p, i["leak"]) for i in items for p, said in i["probes"].items() if said == "LEAK"}
    source = (ROOT / "src" / "hitherto" / "audit").rglob("*.py")
    named = {leak for path in source if path.name not in ("classes.py", "signs.py")
             for leak in re.findall(r'"(L\d\d)"', path.read_text())}  # fmt: skip
    for probe, leaks in SHOWS.items():
        for leak in leaks:
            assert (probe, leak) in moved or leak in named, (probe, leak)
    by_data = {(p, leak) for p in ("P1", "P2", "P3", "P4") for leak in SHOWS[p]} - moved
    assert by_data == set()  # what P1 to P4 show, they have shown


def test_every_class_can_be_looked_for_or_says_what_it_needs():
    assert set(NEEDS) | {k for leaks in SHOWS.values() for k in leaks} == set(CLASSES)
    assert set(NEEDS) == set(CLASSES)
    assert set(RELATIONS.values()) <= set(SHOWS["P7"])


# ---- what an audit says of each class ----
def result(probe, status="ok", **more):
    return ProbeResult(probe, "x", "something", status, **more)


def report(*results, findings=(), not_assessed=()):
    return AuditReport(results, tuple(findings), (), {}, tuple(not_assessed), "1 target", 1, 0.0)


def test_standing_of_every_class():
    found = Finding("L02", "x", "P2", 1, 1)
    said = report(result("P1"), result("P2", "LEAK"), findings=[found]).classes
    assert list(said) == list(CLASSES)
    assert said["L02"] == "found"
    assert said["L01"] == "looked for by P1 P2"
    assert said["L11"] == "looked for by P2"
    assert said["L19"] == "not assessed: no ledger of test reads and trials"
    assert said["L22"] == "not assessed: no table of fills"


def test_probes_that_could_not_run_looked_for_nothing():
    said = report(result("P3", "cannot tell"), result("P4", "not assessed")).classes
    assert said["L05"] == "not assessed: P3 cannot tell"
    assert said["L06"] == "not assessed: no predictor"
    assert not any(v.startswith("looked") for v in said.values())


def test_a_part_is_not_the_whole():
    assert covered(result("P5", looked=("L06",))) == ("L06",)
    assert report(result("P5", looked=("L06",))).classes["L08"].startswith("not assessed")
    delay = "delay not assessed: no joined field; length LEAK"
    p7 = result("P7", "LEAK", detail=delay)
    assert set(covered(p7)) == set(SHOWS["P7"]) - {"L30"}
    assert report(p7).classes["L30"] == "not assessed: delay not assessed: no joined field"
    assert covered(ProbeResult("P10", "KFold", "5 splits", "ok")) == ("L13", "L14", "L15")
    assert "L11" in covered(ProbeResult("P10", "split", "5 folds", "ok"))
    assert covered(result("P9", hits={"L22": (0, 3), "L29": (0, 3)})) == ("L22", "L29")


def test_a_sentence_of_the_audit_outweighs_a_probe():
    said = report(result("P9", hits={"L24": (0, 3)}), not_assessed=["L24: whether names that died are missing"]).classes
    assert said["L24"] == "not assessed: whether names that died are missing"


def test_tables_say_it_class_by_class():
    panel = make_panel(T=80, N=6, seed=2)
    import pandas as pd

    close = panel.fields["close"]
    fills = pd.DataFrame({
        "date": panel.sessions[[5, 9]], "symbol": panel.symbols[:2], "side": "buy", "shares": 100,
        "price": close[[5, 9], [0, 1]], "decided": panel.sessions[[4, 8]],
    })  # fmt: skip
    results, notes = plan_from_fills(fills, panel)
    said = audit(AuditPlan(panel, given=tuple(results), notes=tuple(notes))).classes
    assert said["L21"] == said["L29"] == "looked for by P9"
    assert said["L01"] == "not assessed: the signal cannot be run again"
    assert said["L06"] == "not assessed: there is no model to ask"
    assert said["L24"] == "not assessed: whether names that died are missing from the bars"
    returns = pd.Series(0.001 * np.arange(80) % 0.01, pd.to_datetime(panel.sessions))
    given_, notes = plan_from_returns(returns, panel)
    said = audit(AuditPlan(panel, given=tuple(given_), notes=tuple(notes))).classes
    assert all(v.startswith("not assessed: ") for v in said.values())


def test_the_compact_line():
    assert spans(["L01", "L02", "L03", "L05", "L06", "L09"]) == "L01-L03 L05 L06 L09"
    assert spans([]) == ""
    line = compact(
        {"L01": "found", "L02": "looked for by P2", "L03": "not assessed: no a", "L04": "not assessed: no a"}
    )
    assert line == "classes looked for: L01 L02; not assessed: L03 L04 (no a)"
    assert compact({"L01": "not assessed: x"}) == "classes looked for: none; not assessed: L01 (x)"
    assert compact({"L01": "found"}) == "classes looked for: L01; not assessed: none"


STATUSES = ("ok", "LEAK", "not assessed", "cannot tell")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(SHOWS)), st.sampled_from(STATUSES)), max_size=8),
    st.lists(st.sampled_from(sorted(CLASSES)), max_size=3), st.lists(st.sampled_from(sorted(CLASSES)), max_size=3),
)  # fmt: skip
def test_each_class_stands_somewhere_and_nothing_is_acquitted_unseen(ran, found, open_):
    results = [result(p, s) for p, s in ran]
    said = standing(results, [Finding(k, "x", "P2", 1, 1) for k in found], [f"{k}: because" for k in open_])
    assert list(said) == list(CLASSES)
    for leak, words in said.items():
        assert (words == "found") == (leak in found)
        if words.startswith("looked for by "):
            assert leak not in open_
            for probe in words.removeprefix("looked for by ").split():
                assert any(r.probe == probe and r.status in ("ok", "LEAK") for r in results)
                assert leak in SHOWS[probe]
    line = compact(said)
    for leak in CLASSES:
        assert leak in line or re.search(r"L\d\d-L\d\d", line)


# ---- names that P1 and P2 give ----
def week_close(frame):
    return frame["close"] / frame["close"].groupby(frame.index.to_period("W")).transform("last")


def month_mean(frame):
    return frame["volume"] / frame["volume"].groupby(frame.index.to_period("M")).transform("mean")


def month_mean_across(frame):
    return frame["close"].groupby(frame.index.to_period("M")).transform("mean")


def ten_day_low(frame):
    bins = np.arange(len(frame)) // 10
    return frame["low"] / frame["low"].groupby(bins).transform("min")


def week_of_the_start(frame):
    weekly = frame["close"].resample("W", label="left", closed="right").last()
    return frame["close"] / weekly.reindex(frame.index, method="ffill")


def centred(frame):
    return frame["close"].rolling(5, center=True, min_periods=1).mean()


def centred_pair(frame):
    return frame["close"].rolling(5, center=True, min_periods=1).max()


def week_ahead(frame):
    return frame["close"].shift(-5) / frame["close"]


def centred_across(frame):
    return frame["close"].rolling(7, center=True, min_periods=1).median()


def swings(frame):
    high = frame["high"]
    return (high == high.rolling(7, center=True, min_periods=4).max()).astype(float)


def best_of_the_week_ahead(frame):
    return frame["high"][::-1].rolling(5, min_periods=1).max()[::-1]


def front_adjusted(frame):
    return frame["close"] * frame["factor"] / frame["factor"].iloc[-1]


def next_factor(frame):
    return frame["factor"].shift(-1) / frame["factor"]


def halts_ahead(frame):
    rows = np.arange(len(frame))
    closed = frame["close"].isna().where(lambda v: v).mul(rows).astype(float).bfill()
    return (closed - rows).clip(upper=10).fillna(10)


def days_to_next(frame):
    days = frame.index.to_series()
    return (days.shift(-1) - days).dt.days.astype(float)


def share_of_the_sample(frame):
    return frame["close"] * 0 + np.arange(len(frame)) / len(frame)


NAMES = [
    (week_close, "symbol", "L12"), (month_mean, "symbol", "L12"), (month_mean_across, "wide", "L12"),
    (ten_day_low, "symbol", "L12"), (week_of_the_start, "symbol", "L12"),
    (centred, "symbol", "L02"), (centred_pair, "symbol", "L02"), (week_ahead, "symbol", "L02"),
    (centred_across, "wide", "L02"), (swings, "symbol", "L02"), (best_of_the_week_ahead, "symbol", "L02"),
    (front_adjusted, "symbol", "L28"), (next_factor, "symbol", "L28"), (halts_ahead, "symbol", "L31"),
    (days_to_next, "symbol", "L31"), (share_of_the_sample, "symbol", "L32"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "gets", "leak"), NAMES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_names(f, gets, leak):
    """What a reach cannot tell apart is told by how the first moved row follows the cut, by fields and by halts."""
    found = audit(from_function(f, gets), made_up_panel(200, 12)).findings
    assert {one.leak for one in found} == {leak}, [one.line() for one in found]


def test_windows_glide_and_longer_bars_step():
    week = [Hit(c, c - c % 5, c - c % 5, True) for c in range(40, 64) if c % 5 != 4]
    assert steps(week)
    assert not steps([Hit(c, c - 4, c - 4, True) for c in range(40, 64)])
    assert not steps([h._replace(whole=False) for h in week])
    assert not steps(week[:4])
    assert not steps([Hit(c, 0, 0, True) for c in range(40, 64)])  # one fixed stretch is no calendar
    assert not steps([])
    halted = [h._replace(first=h.first + 1) if i % 4 == 0 and h.cut > h.first else h for i, h in enumerate(week)]
    assert steps(halted)  # a number unknown at the step's beginning


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_steps_of_any_length_and_phase(k, phase, seed):
    """Bars of 3 to 12 rows at any phase step; a window of k rows does not, both with a tenth of the cells unknown."""
    draw = np.random.default_rng(seed)
    T, N = 120, 24
    base = draw.standard_normal((T, N))
    base[draw.random((T, N)) < 0.1] = np.nan
    length = 3 + k % 10

    def moved(kind):
        def again(cuts):
            rows = np.arange(T)[:, None]
            if kind == "bars":
                first = cuts - (cuts + phase) % length
                hit = (cuts + 1 + phase) % length > 0
            else:
                first, hit = cuts - k + 1, np.ones(N, bool)
            return {"x": base + ((rows >= first) & hit & (rows <= cuts))}

        return stepwise(["x"], {"x": base}, again, {"x": 0.0}, T - 1, per_asset=True) == {"x"}

    assert moved("bars")
    assert not moved("window")


def test_fields_name_a_class():
    assert by_field(["factor"]) == "L28"
    assert by_field(["member"]) == by_field(["member", "in_index_300"]) == "L25"
    for fields in ([], ["close"], ["factor", "close"], ["member", "close"]):
        assert by_field(fields) == ""


# ---- nets of a study ----
@pytest.mark.parametrize("kind", ["mlp", "cross_stock"])
@pytest.mark.parametrize("talks", [False, True])
def test_nets_of_a_study_are_differentiated(kind, talks):
    import torch
    from torch import nn

    from hitherto.models.net import FittedNet
    from hitherto.seeds import Stream
    from hitherto.study.auditing import _nets, _talks
    from hitherto.study.core import build_model

    model = build_model({"kind": kind, "lookback": 4}, "models.0")
    net = model.make(3, 1, Stream(0, "net"))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.4)

    class Talks(nn.Module):
        """Adds what the batch before it said, one sample late."""

        def __init__(self):
            super().__init__()
            self.inner = net
            self.register_buffer("last", torch.zeros(1))

        def forward(self, x, generator=None):
            out = self.inner(x)
            told = out.mean(0, keepdim=True) if model.unit == "asset" else self.last
            self.last = out.mean().reshape(1)
            return out + 0.01 * told

    fitted = FittedNet(model, Talks() if talks else net, 3, 1, None)
    fit = type("Fit", (), {"model": model, "fitted": fitted})
    ((name, one),) = _nets([fit])
    result = _talks(name, one)(Stream(0, "audit"))
    assert result.looked == ("L06",)
    assert [f.leak for f in result.findings] == ["L06"] * talks
    assert result.status == ("LEAK" if talks else "ok"), result.detail
    again = _talks(name, one)(Stream(0, "audit"))
    assert [f.line() for f in again.findings] == [f.line() for f in result.findings]


def test_of_an_ensemble_the_first_net_is_asked_and_others_are_left_out():
    from hitherto.study.auditing import _nets

    ridge = type("Fit", (), {"model": type("M", (), {"name": "ridge"}), "fitted": object()})
    assert _nets([ridge]) == []
