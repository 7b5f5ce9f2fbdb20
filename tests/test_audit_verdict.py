"""What the audit says, word for word, and its exit codes; a whole plan as a study hands it over."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_audit_probes import folds_of, make_windows, predictor, refit_target
from toys import make_panel

import hitherto
from hitherto.audit import AuditPlan, AuditReport, Finding, ProbeResult, from_function
from hitherto.audit.verdict import CanaryResult, date, pair, place
from hitherto.errors import ConfigError
from hitherto.labels import forward_return

LINE = (
    "LEAK L02 at features.zscore reach=+5 bars cuts=24/24 first=2019-03-05 evidence 0.1841 -> 0.1790 "
    "fix: use a trailing window"
)


def finding(**changes):
    given = {"leak": "L02", "where": "features.zscore", "probe": "P2", "hits": 24, "tried": 24, "reach": 5,
             "first": "2019-03-05", "old": 0.1841, "new": 0.1790}  # fmt: skip
    return Finding(**{**given, **changes})


def report(findings=(), results=None, canaries=(), **changes):
    ok = ProbeResult("P2", "features", "the future rewritten", "ok", cuts=(0, 24))
    given = {"noise_floor": {"features": 0.0}, "not_assessed": ("P8 null worlds",), "scope": "1 target",
             "evaluations": 8, "seconds": 1.25}  # fmt: skip
    return AuditReport(
        tuple([ok] if results is None else results), tuple(findings), tuple(canaries), **{**given, **changes}
    )


def canary(caught, essential=True):
    size = (1.0, 1.0) if essential else (0.01, 1.0)
    words = "reach +1 at 1 of scale" if essential else "reach +1 at 0.01 of scale"
    return CanaryResult("features", words, caught, ("P2",) if caught else (), essential, (int(caught), 24), size)


def test_the_line_of_a_finding():
    assert finding().line() == LINE.replace("0.1790", "0.179")
    assert finding(reach=1, note="reads the future of close").line() == (
        "LEAK L02 at features.zscore reach=+1 bar cuts=24/24 first=2019-03-05 evidence 0.1841 -> 0.179 "
        "fix: use a trailing window (reads the future of close)"
    )
    where = finding(source="study.py:41", new=0.1790).line()
    assert where == LINE.replace("zscore reach", "zscore (study.py:41) reach").replace("0.1790", "0.179")
    bare = Finding("L14", "split.fold0", "P10", 37, 400, of="samples", note="train labels reach into test rows")
    assert bare.line() == (
        "LEAK L14 at split.fold0 samples=37/400 fix: purge train samples by the end of their labels "
        "(train labels reach into test rows)"
    )


def test_numbers_get_as_many_digits_as_show_the_difference():
    assert pair(0.1841, 0.1790) == ("0.1841", "0.179")
    assert pair(1.0, 1.0 + 1e-10) == ("1", "1.0000000001")
    assert pair(float("nan"), 2.0) == ("nan", "2")
    a, b = pair(1.0, np.nextafter(1.0, 2.0))
    assert a != b


def test_exit_codes():
    assert report().exit_code == 0
    assert report(canaries=[canary(True), canary(False, essential=False)]).exit_code == 0
    assert report(canaries=[canary(False)]).exit_code == 5
    assert report([finding()], canaries=[canary(False)]).exit_code == 1
    assert report(results=[]).exit_code == 5
    assert report(results=[ProbeResult("P2", "x", "nothing", "cannot tell", "it crashed")]).exit_code == 5
    assert report(results=[ProbeResult("P10", "x", "0 folds", "not assessed")]).exit_code == 5


def test_verdicts():
    assert report([finding()]).verdict == "1 leak was found."
    assert report([finding(), finding()]).verdict == "2 leaks were found."
    assert report().verdict == (
        "No leak was found by what was tried; leaks smaller than the planted ones and what was not assessed remain."
    )
    assert report(canaries=[canary(False)]).verdict == (
        "The audit cannot tell: the planted leak 'reach +1 at 1 of scale' in features was not caught."
    )
    assert report(results=[ProbeResult("P2", "x", "nothing", "cannot tell", "it crashed")]).verdict == (
        "The audit cannot tell: P2 x: it crashed."
    )
    assert report(results=[]).verdict == "The audit cannot tell: no probe could be run."


def test_smallest_is_one_sentence():
    assert report().smallest == "Not measured: there was no clean column to plant a leak beside."
    both = report(canaries=[canary(True), canary(True, essential=False)])
    assert both.smallest == "features: caught reach +1 at 0.01 of scale."
    one = report(canaries=[canary(True), canary(False, essential=False)])
    assert one.smallest == "features: caught reach +1 at 1 of scale, missed reach +1 at 0.01 of scale."
    none = report(canaries=[canary(False)])
    assert none.smallest == "features: caught nothing that was planted, missed reach +1 at 1 of scale."


def test_text_and_json_hold_everything():
    r = report([finding()], canaries=[canary(True)])
    text = r.to_text()
    assert text.splitlines() == [
        "AUDIT 1 target; 8 evaluations, 1.2 s",
        finding().line(),
        "P2  features                 ok 0/24  the future rewritten",
        "noise floor (two equal runs, of a column's scale): features 0.0e+00",
        "planted leaks: features: caught reach +1 at 1 of scale.",
        "not assessed: P8 null worlds",
        "classes looked for: L01-L04 L11 L12 L17; not assessed: L05 L16 L18 L20 (no fit to run again), L06 L07 (no "
        "predictor), L08-L10 (no torch module with an output per step), L13-L15 (no folds with labels), L19 (no ledger "
        "of test reads and trials), L21 (no book or fills with their decisions), L22 L23 L29 (no table of fills), L24 "
        "L26 L28 L30 (only metamorphic data, at level 'full', would show it), L25 L27 (no vintages), L31 L32 (no code "
        "to run again)",
        "verdict: 1 leak was found.",
    ]
    body = json.loads(r.to_json())
    assert body["exit_code"] == 1
    assert body["findings"][0]["line"] == finding().line()
    assert body["results"][0]["status"] == "ok"
    assert (body["findings"][0]["source"], body["findings"][0]["located"]) == ("", None)
    assert body["findings"][0]["taxonomy"] == "L2 features that are not legitimate"
    assert body["classes"]["L02"]["standing"] == "found"
    assert body["classes"]["L19"] == {
        "standing": "not assessed: no ledger of test reads and trials", "taxonomy": "L1.1 no test set",
    }  # fmt: skip
    assert len(body["classes"]) == 32
    assert body["canary_caught"] is True
    odd = json.loads(report([finding(old=float("nan"), new=float("inf"))], noise_floor={"x": float("inf")}).to_json())
    assert odd["findings"][0]["old"] == "nan"
    assert odd["noise_floor"]["x"] == "inf"


def test_places_and_dates():
    assert place("f", "f") == "f"
    assert place("features", "z") == "features.z"
    panel = make_panel(T=5)
    assert date(panel, 1) == "2015-01-06"
    intraday = panel.replace(sessions=np.repeat(panel.sessions[:1], 5))
    assert date(intraday, 1) == "2015-01-06T15:00Z"


class ToyStudy:
    """What the study layer will be to the audit: one method."""

    def __init__(self, leak=None):
        self.leak = leak

    def audit_targets(self):
        panel = make_panel(T=140, N=8, seed=3)
        label = forward_return(panel, (1, 5))
        peek = (lambda df: df.close.shift(-1)) if self.leak == "features" else (lambda df: df.close.pct_change(3))
        peek.__name__ = "features"
        kind = "batch_norm" if self.leak == "model" else "plain"
        refit = refit_target("all" if self.leak == "scaler" else "train")
        model = predictor(kind, make_windows(panel))
        return AuditPlan(
            panel, (from_function(peek),), tuple(folds_of(panel, label)), label, 3, (model,), refit,
            refit_planted=refit_target("all"), notes=("the vendor restated the past",),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("leak", "probe", "code"), [(None, None, 0), ("features", "P2", 1), ("model", "P4", 1), ("scaler", "P3", 1)]
)
def test_a_study_is_audited_whole(leak, probe, code):
    r = hitherto.audit(ToyStudy(leak))
    assert r.exit_code == code, r.to_text()
    assert [x.probe for x in r.results] == ["P0", "P1", "P2", "P4", "P10", "P0", "P3"]
    assert {f.probe for f in r.findings} == ({probe} if probe else set())
    text = r.to_text()
    assert "the vendor restated the past" in text
    assert "P6 vintages" in text
    for claim in ("leak-free", "leak free", "no leaks", "free of leaks"):
        assert claim not in text.lower()


def test_levels_are_named():
    with pytest.raises(ConfigError, match="level must be 'quick' or 'full', got 'deep'"):
        hitherto.audit(ToyStudy(), level="deep")
