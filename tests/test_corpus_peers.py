"""The judgements of the peers: truncation at trades and the IC alarm on known functions, and the stored file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the corpus lies beside the package, not in it

from corpus import peers, runner  # noqa: E402
from hitherto.audit import FunctionTarget, made_up_panel  # noqa: E402


@pytest.fixture(scope="module")
def panel():
    return made_up_panel(rows=120, listings=12)


def returns(panel):
    price = panel.fields["close"] * panel.fields["factor"]
    out = np.full(price.shape, np.nan)
    out[1:] = price[1:] / price[:-1] - 1.0
    return out


def ahead(panel):
    past = returns(panel)
    return np.vstack([past[1:], np.full((1, past.shape[1]), np.nan)])


def target(f, unit="asset"):
    return FunctionTarget("x", lambda panel: {"x": f(panel)}, unit)


def test_changes_of_sign_and_of_side():
    x = np.array([[1.0, 2.0], [-1.0, 3.0], [np.nan, 4.0], [1.0, 5.0], [2.0, 6.0], [-2.0, 7.0]])
    assert peers.changes(x).tolist() == [[1, 0], [5, 0]], "a change across a hole has no bar of its own"
    # never at or below zero: held against the mean so far, 1, 1.5, 7/6, 15/8: above it at 1, below at 2, above at 3
    assert peers.changes(np.array([[1.0], [2.0], [0.5], [4.0]])).tolist() == [[1, 0], [2, 0], [3, 0]]
    assert len(peers.changes(np.ones((5, 2)))) == 0


@pytest.mark.parametrize("unit", ["asset", "date"])
def test_truncation_catches_the_next_bar_and_passes_the_last_one(panel, unit):
    assert peers.at_trades(target(ahead, unit), panel) == {peers.TRADED: True, peers.LOOSE: True}
    assert peers.at_trades(target(returns, unit), panel) == {peers.TRADED: False, peers.LOOSE: False}


def test_truncation_does_not_see_a_leak_that_spares_the_last_row(panel):
    def all_but_last(p):  # each row knows the next bar unless it is the bar on which the signal turns
        out, future = returns(p), np.nan_to_num(ahead(p))
        turns = np.vstack([np.ones((1, out.shape[1]), bool), np.sign(out[1:]) != np.sign(out[:-1])])
        return np.where(turns, out, out * (1.0 + np.abs(future)))

    assert peers.at_trades(target(all_but_last), panel)[peers.TRADED] is False


def test_rounding_is_an_alarm_only_when_bits_count(panel):
    def rounds(p):
        return returns(p) * (1.0 + 1e-12 * p.shape[0])

    assert peers.at_trades(target(rounds), panel) == {peers.TRADED: True, peers.LOOSE: False}


def test_code_that_never_trades_or_never_runs_on_a_cut_is_not_run(panel):
    def whole_only(p):
        if p.shape[0] < 120:
            raise ValueError("too short")
        return returns(p)

    for f in (lambda p: np.ones(p.shape), whole_only):
        assert peers.at_trades(target(f), panel) == {peers.TRADED: None, peers.LOOSE: None}


def test_ic_alarm(panel):
    assert peers.too_good(target(ahead), panel) == {peers.IC: True}
    # A random walk: the mean IC of 119 dates of 12 names has a deviation of .028, .15 lies 5 of them away; fixed seed
    assert peers.too_good(target(returns), panel) == {peers.IC: False}
    assert peers.too_good(target(lambda p: np.ones(p.shape)), panel) == {peers.IC: None}


def test_counts_hold_not_run_apart():
    said = ((None, "L01"), (True, "L01"), (False, "L02"), (True, None), (None, None))
    items = {f"i{k}": {"leak": leak, "said": {peers.IC: v}} for k, (v, leak) in enumerate(said)}
    assert peers.counts(items, peers.IC) == {
        "caught": 1, "planted": 3, "planted_run": 2, "false_alarms": 1, "honest": 2, "honest_run": 1,
    }  # fmt: skip
    assert {c: one[peers.IC] for c, one in peers.by_class(items).items()} == {"L01": 1, "L02": 0}


def test_without_an_interpreter_the_packages_are_not_run(capsys):
    before = peers.STORED.read_bytes()
    assert peers.main(["l01_shift_minus_one"]) == 0
    out = capsys.readouterr().out
    assert '"quantlint": "no interpreter given"' in out
    row = next(line for line in out.splitlines() if line.startswith(peers.LA))
    assert row.split()[1:3] == ["0/1", "0"]
    assert peers.STORED.read_bytes() == before, "a selection is not stored"


def test_stored_counts_follow_from_the_stored_verdicts():
    stored = json.loads(peers.STORED.read_text(encoding="utf-8"))
    assert {p: peers.counts(stored["items"], p) for p in peers.PEERS} == stored["peers"]
    assert peers.by_class(stored["items"]) == stored["classes"]
    leaks = {i.name: i.leak for i in runner.load_all()}
    assert all(one["leak"] == leaks[name] for name, one in stored["items"].items() if name in leaks)
