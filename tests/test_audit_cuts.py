"""Where the audit cuts: the strata that rare leaks need, and every bar where that is cheap."""

import numpy as np
import pytest

from hitherto.audit import audit, cuts, made_up_panel
from hitherto.seeds import Stream

RNG = Stream(0, "cuts")


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=60, listings=4)


def test_an_announcement_is_cut_the_day_before_it_is_known(market):
    eps = np.full(market.shape, np.nan)
    eps[20:, 1], eps[40:, 1] = 1.5, 2.5
    told = cuts.strata(market.replace(fields={**market.fields, "eps": eps}))["announcement"]
    assert np.argwhere(told).tolist() == [[19, 1], [39, 1]]
    assert not cuts.strata(market)["announcement"].any()  # bars alone announce nothing


def test_decisions_are_cut_on_the_day_they_change(market):
    position = np.zeros(market.shape)
    position[10:25, 2] = 1.0
    made = cuts.strata(market, {"position": position})["decision"]
    assert np.argwhere(made).tolist() == [[t, 2] for t in range(10, 26)]  # a flag: all days on which it is up, too
    grades = cuts.strata(market, {"grade": position + (np.arange(60) >= 40)[:, None] * 2.0})["decision"]
    assert np.argwhere(grades)[:, 0].tolist() == [10, 25, 40, 40, 40, 40]
    score = np.where(np.arange(60)[:, None] < 30, 1.0, -1.0) * np.linspace(0.1, 2.0, 60)[:, None] + np.zeros((1, 4))
    assert np.flatnonzero(cuts.strata(market, {"score": score})["decision"][:, 0]).tolist() == [30]
    many = {str(k): position for k in range(cuts.MOST + 1)}
    assert not cuts.strata(market, many)["decision"].any()


def test_no_stratum_holds_the_last_row(market):
    eps = np.arange(60.0)[:, None] + np.zeros((1, 4))
    panel = market.replace(fields={**market.fields, "eps": eps})
    for name, mask in cuts.strata(panel, {"position": eps % 2}).items():
        assert not mask[-1].any(), name


@pytest.mark.parametrize("seed", range(5))
def test_every_bar_is_the_cut_of_some_listing_where_that_is_cheap(market, seed):
    ok = Stream(seed, "ok").numpy("mask").random(market.shape) < 0.4
    ok[-1] = False
    own = cuts.each(market, ok, 3, RNG)
    whole = cuts.every(ok, own, 200)
    assert np.array_equal(whole[:3], own)
    met = {int(whole[r, n]) for r in range(len(whole)) for n in range(4) if ok[whole[r, n], n]}
    assert met == set(np.flatnonzero(ok.any(axis=1)).tolist())
    free = whole[3:][whole[3:] < 59]
    assert all(ok[whole[r, n], n] for r in range(3, len(whole)) for n in range(4) if whole[r, n] < 59)
    assert len(free) == len(set(free.tolist()))  # each missing row once
    assert np.array_equal(cuts.every(ok, own, 3), own)


def test_a_leak_on_a_single_day_is_found_by_the_full_audit():
    """Row 117 reads the next close, no other row does: few cuts miss it, all cuts cannot."""
    panel = made_up_panel(rows=160, listings=8)
    day = panel.sessions[117]

    def once(frame):
        out = frame["close"].rolling(5).mean()
        at = frame.index == np.datetime64(day)
        return out.mask(at, frame["close"].shift(-1))

    report = audit(once, panel, level="full")
    assert {f.leak for f in report.findings if f.probe == "P2"} == {"L01"}
