"""Planted leaks of shrinking size: what is caught, what is missed, and that a blind audit says so."""

from __future__ import annotations

import numpy as np
import pytest

from hitherto.audit import AuditPlan, FunctionTarget, audit, from_function, made_up_panel
from hitherto.audit import canary as canaries
from hitherto.audit.probes import rewriting, truncation
from hitherto.audit.target import Counted
from hitherto.seeds import Stream

RNG = Stream(1, "test")


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=200, listings=30, seed=4)


def momentum(df):
    return df.close.ffill().pct_change(5)


def net(panel):
    """A stand-in for a float32 net: honest, and compared with a tolerance."""
    close = panel.view("close")
    out = np.full(panel.shape, np.nan, np.float32)
    out[1:] = np.tanh(50 * np.diff(np.log(close), axis=0))
    return {"y": out}


def caught(report):
    return {c.leak: c.caught for c in report.canaries}


def test_an_exact_target_shows_leaks_down_to_rounding(market):
    report = audit(momentum, market)
    seen = caught(report)
    assert report.exit_code == 0
    assert report.canary_caught is True
    for rung in (
        "reach +20 at 1 of scale",
        "reach +1 at 1 of scale",
        "reach +1 at 1e-06 of scale",
        "reach +1 at 1e-12 of scale",
    ):
        assert seen[rung], rung
    assert report.smallest.startswith("momentum: caught reach +1 at 1e-12 of scale and reach +1 at 1 of scale in ")
    assert report.evaluations <= 8


def test_a_tolerant_target_misses_what_lies_below_its_tolerance_and_says_so(market):
    report = audit(FunctionTarget("net", net, unit="asset", exact=False), market)
    seen = caught(report)
    assert seen["reach +1 at 0.01 of scale"]
    assert seen["reach +1 at 0.0001 of scale"]
    assert not seen["reach +1 at 1e-06 of scale"]
    assert not seen["reach +1 at 1e-12 of scale"]
    assert "caught reach +1 at 0.0001 of scale" in report.smallest
    assert ", missed reach +1 at 1e-06 of scale" in report.smallest
    assert "1e-09" not in report.smallest  # the largest that was missed says it
    assert report.exit_code == 0


def test_the_ladder_is_a_ladder(market):
    """What is caught at some strength is caught at every greater one; the same for shares of the cells."""
    for exact in (True, False):
        report = audit(FunctionTarget("net", net, unit="asset", exact=exact), market)
        for i in (0, 1):
            rungs = sorted(
                (c.size[i], c.caught) for c in report.canaries if c.size and c.size[1 - i] == 1 and "+1 " in c.leak
            )
            found = [ok for _, ok in rungs]
            assert found == sorted(found), rungs


@pytest.mark.parametrize("reach", [1, 5, 20])
def test_a_planted_leak_shows_its_reach_when_followed_up(market, reach):
    inner = from_function(momentum)
    planted = canaries.Planted(inner, RNG, [canaries.Leak(reach)])
    name = next(iter(planted.planted))
    # Named as a column of its own, so that the probe follows it up.
    only = FunctionTarget("x", lambda p: {"leak": planted.run(p)[name]}, unit="asset")
    only.run(market)
    cuts = np.linspace(40, 160, market.shape[1]).astype(int)[None, :]
    (found,) = rewriting.probe(only, market, cuts, RNG).findings
    assert found.reach == reach
    assert found.leak == ("L01" if reach == 1 else "L02")


def test_planting_changes_no_real_number_and_costs_no_evaluation(market):
    inner = from_function(momentum)
    planted = Counted(canaries.Planted(inner, RNG, whole_sample=True))
    out = planted.run(market)
    assert np.array_equal(out["momentum"], inner.run(market)["momentum"], equal_nan=True)
    assert len(planted.planted) == len(canaries.LADDER) + 1
    assert planted.evaluations == 1
    planted.run(market)
    assert planted.evaluations == 1
    planted.again(market)
    assert planted.evaluations == 2
    for name in planted.planted - {canaries.WHOLE_SAMPLE}:
        assert not np.array_equal(out[name], out["momentum"], equal_nan=True), name


@pytest.mark.parametrize("broken", ["both", "rewriting", "truncation"])
def test_an_audit_that_does_not_rewrite_says_that_it_cannot_tell(market, monkeypatch, broken):
    def peek(df):
        return df.close.shift(-1)

    if broken in ("both", "rewriting"):
        monkeypatch.setattr(rewriting, "rewrite", lambda panel, *a, **k: panel)
    if broken in ("both", "truncation"):
        monkeypatch.setattr(truncation, "moves", lambda *a: {})
    for f in (momentum, peek):
        report = audit(f, market)
        if broken == "both":
            assert report.exit_code == 5
            assert report.verdict.startswith("The audit cannot tell: the planted leak 'reach +1 at 1 of scale' in ")
        else:
            assert report.exit_code == (0 if f is momentum else 1)
            other = "P1" if broken == "rewriting" else "P2"
            assert all(c.by == (other,) for c in report.canaries if c.caught)


def test_a_column_that_leaks_hosts_no_canary(market):
    def peek(df):
        return df.close.shift(-1)

    report = audit(peek, market)
    assert report.canaries == ()
    assert report.canary_caught is None
    assert report.smallest == "Not measured: there was no clean column to plant a leak beside."


def test_numbers_on_the_last_bar_only_cannot_be_judged(market):
    def last(panel):
        out = np.full(panel.shape, np.nan)
        out[-1] = 1.0
        return {"y": out}

    report = audit(FunctionTarget("last", last), market)
    assert report.exit_code == 5
    assert "it gives no number before the last bar" in report.verdict


def test_a_full_audit_sends_a_leak_through_the_pipeline_itself(market):
    report = audit(momentum, market, level="full")
    assert caught(report)["reach +1 in the prices it reads"]

    def volume_only(df):
        return df.volume.rolling(5).mean()

    blind = audit(volume_only, market, level="full")
    assert not caught(blind)["reach +1 in the prices it reads"]  # it reads no price: nothing to carry
    assert blind.exit_code == 0


def test_same_seed_same_verdict(market):
    def peek(df):
        return df.close.rolling(3, center=True).mean()

    texts = {"\n".join(f.line() for f in audit(peek, market, seed=7).findings) for _ in range(2)}
    assert len(texts) == 1
    first, second = (audit(momentum, market, seed=s) for s in (7, 7))
    assert first.canaries == second.canaries
    assert [dict(r.hits) for r in first.results] == [dict(r.hits) for r in second.results]


def test_quick_cuts_a_large_panel_down_and_says_so():
    big = made_up_panel(rows=700, listings=60, seed=0)

    def peek(panel):
        close = panel.view("close")
        return {"y": np.vstack([close[1:], close[-1:]])}

    target = FunctionTarget("peek", peek, unit="asset")
    report = audit(target, big)
    assert report.scope == "1 target, 600 bars x 50 listings of 700 x 60"
    assert report.findings[0].reach == 1
    assert audit(AuditPlan(big, (target,), limit=(60, 700))).scope == "1 target, 700 bars x 60 listings"
    spans = audit(AuditPlan(big, (target,), span=(300, 420)))
    assert spans.scope == "1 target, 421 bars x 50 listings of 700 x 60"
    assert str(big.sessions[300]) <= spans.findings[0].first <= str(big.sessions[420])
