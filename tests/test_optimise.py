"""Optimise: closed forms, optimality against a linear programme, limits, causality, permutations, messages."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from toys import make_panel

from hitherto.errors import ConfigError, DataError, MissingExtraError
from hitherto.portfolio import optimise as walking
from hitherto.portfolio.optimise import drifted, expected_returns, optimise
from hitherto.portfolio.program import Limits, Program, Row
from hitherto.portfolio.risk import Risk, one_bar_returns, risk_at

pytest.importorskip("cvxpy", reason='the optimiser needs pip install "hitherto[portfolio]"')
NAN = np.nan
SMALL = {"window": 30, "least": 10, "factors": 2}


def plain(variances):
    """Uncorrelated names of given variances."""
    d = np.asarray(variances, float)
    return Risk(np.zeros((len(d), 1)), d, np.ones(len(d), bool))


def random_risk(rng, n, k=3):
    return Risk(0.01 * rng.normal(size=(n, k)), rng.uniform(1e-4, 4e-4, n), np.ones(n, bool))


def solve(
    score, risk, limits=None, aversion=5.0, costs=0.0, before=None, benchmark=None, groups=None, slots=None, **kw
):
    """Solve one row; ``before`` None = the first row, from cash."""
    score = np.asarray(score, float)
    n = len(score)
    groups = np.zeros(n, int) if groups is None else np.asarray(groups)
    program = Program(slots or n, risk.exposures.shape[1], int(groups.max()) + 1, limits or Limits(), aversion, costs)
    zero = np.zeros(n)
    row = Row(
        score, zero if before is None else np.asarray(before, float), zero if benchmark is None else benchmark,
        risk, groups, "2020-01-03", first=before is None, **kw,
    )  # fmt: skip
    assert program.problem.is_dpp()
    return program.solve(row)


# Closed forms


def test_two_assets_unconstrained():
    """w = S^-1 s / (2 aversion)."""
    S = np.array([[4e-4, 1e-4], [1e-4, 2e-4]])
    risk = Risk(np.linalg.cholesky(S - 5e-5 * np.eye(2)), np.full(2, 5e-5), np.ones(2, bool))
    s = np.array([0.002, 0.0013])
    w = solve(s, risk, aversion=8.0)
    assert w.sum() < 1
    assert np.allclose(w, np.linalg.solve(S, s) / 16, atol=1e-8)


def test_least_variance_of_two_assets():
    S = np.array([[4e-4, 1e-4], [1e-4, 2e-4]])
    risk = Risk(np.linalg.cholesky(S - 5e-5 * np.eye(2)), np.full(2, 5e-5), np.ones(2, bool))
    w = solve([0, 0], risk, Limits(fully_invested=True))
    assert np.allclose(w, [1 / 4, 3 / 4], atol=1e-7)  # (2 - 1) / (4 + 2 - 2)


def test_long_short_closed_form():
    """Net 0: w = S^-1 (s - m 1) / (2 aversion) with m so that the sum is 0."""
    rng = np.random.default_rng(0)
    risk, s = random_risk(rng, 6), 0.0005 * rng.normal(size=6)
    inverse = np.linalg.inv(risk.matrix())
    shift = (inverse @ s).sum() / inverse.sum()
    w = solve(s, risk, Limits(long_only=False, gross=9.0), aversion=40.0)
    assert np.allclose(w, inverse @ (s - shift) / 80, atol=1e-7)


@given(st.integers(1, 40))
@settings(max_examples=10)
def test_equal_scores_and_equal_risk_hold_all_alike(n):
    assert np.allclose(solve(np.full(n, 0.01), plain(np.full(n, 1e-4))), 1 / n, atol=1e-7)


@pytest.mark.parametrize("slots", [3, 8])
def test_no_trade_where_costs_exceed_the_edge(slots):
    """Names apart: d/dw = s - 2 a v w; the book moves to where the slope equals the costs, or stays."""
    a, v, c = 5.0, 1e-4, 0.0004
    before = np.array([0.2, 0.3, 0.1])
    # slope at `before` within +-c: stay; above c: buy up to (s - c) / (2 a v); below -c: sell down to (s + c) / (2 a v)
    s = 2 * a * v * before + np.array([0.9 * c, 1.2 * c, -1.1 * c])
    w = solve(s, plain(np.full(3, v)), aversion=a, costs=c, before=before, slots=slots)
    assert np.allclose(w, [0.2, 0.3 + 0.2 * c / (2 * a * v), 0.1 - 0.1 * c / (2 * a * v)], atol=1e-7)
    stay = solve(2 * a * v * before, plain(np.full(3, v)), aversion=a, costs=c, before=before, slots=slots)
    assert np.allclose(stay, before, atol=1e-8)
    free = solve(s, plain(np.full(3, v)), aversion=a, before=before, slots=slots)
    assert np.abs(free - before).min() > 1e-3  # without costs every name moves: the test can fail


def test_caps_bind():
    w = solve([0.03, 0.02, 0.01, 0.001], plain(np.full(4, 1e-5)), Limits(cap=0.4), aversion=1.0)
    assert np.allclose(w, [0.4, 0.4, 0.2, 0], atol=1e-7)


def test_the_turnover_limit_holds_exactly():
    before = np.array([0.5, 0.5, 0, 0])
    w = solve([0, 0, 0.05, 0.01], plain(np.full(4, 1e-5)), Limits(turnover=0.1), aversion=1.0, before=before)
    assert np.abs(w - before).sum() / 2 == pytest.approx(0.1, abs=1e-8)
    assert w[2] == pytest.approx(0.1, abs=1e-7)
    # 0.06 in names that may not be held any more may be replaced beside the limit
    w = solve([0, 0, 0.05, 0.01], plain(np.full(4, 1e-5)), Limits(turnover=0.1), aversion=1.0,
              before=before * 0.94, left=0.06)  # fmt: skip
    assert np.abs(w - before * 0.94).sum() == pytest.approx(0.26, abs=1e-8)
    # a weight above its cap must go, beside the limit, and be replaced
    w = solve([0, 0, 0.05, 0.01], plain(np.full(4, 1e-5)), Limits(turnover=0.1, cap=0.45, fully_invested=True),
              aversion=1.0, before=before)  # fmt: skip
    assert np.abs(w - before).sum() / 2 == pytest.approx(0.2, abs=1e-8)


def test_flat_scores_hold_the_benchmark():
    rng = np.random.default_rng(0)
    b = rng.dirichlet(np.ones(12))
    for limits in (Limits(), Limits(band=0.01, active_risk=0.001), Limits(fully_invested=True)):
        w = solve(np.full(12, 0.001), random_risk(rng, 12), limits, benchmark=b)
        assert np.allclose(w, b, atol=1e-7)
        assert w.sum() == pytest.approx(1, abs=1e-7)


def test_bands_and_groups_bind():
    b = np.full(4, 0.25)
    s = [0.05, 0.04, -0.03, -0.05]
    w = solve(s, plain(np.full(4, 1e-5)), Limits(band=0.1), benchmark=b, aversion=1.0)
    assert np.allclose(w, [0.35, 0.35, 0.15, 0.15], atol=1e-7)
    limits = Limits(band=0.1, group_cap=0.05)
    w = solve(s, plain(np.full(4, 1e-5)), limits, benchmark=b, groups=[0, 0, 1, 1], aversion=1.0)
    assert np.allclose(w, [0.35, 0.20, 0.30, 0.15], atol=1e-7)
    w = solve(s, plain(np.full(4, 1e-5)), Limits(group_cap=0.3), groups=[0, 0, 1, 1], aversion=1.0)
    assert w.sum() == pytest.approx(0.3, abs=1e-7)


def test_active_risk_binds():
    """Equal variances v and scores of sum 0: w - b = r s / (|s| sqrt(v))."""
    b, s, v = np.full(5, 0.2), np.array([0.02, 0.01, 0, -0.01, -0.02]), 1e-4
    w = solve(s, plain(np.full(5, v)), Limits(active_risk=0.0004), benchmark=b, aversion=0.0)
    assert np.allclose(w - b, 0.0004 * s / (np.linalg.norm(s) * np.sqrt(v)), atol=1e-6)
    assert plain(np.full(5, v)).variance(w - b) ** 0.5 == pytest.approx(0.0004, rel=1e-6)


# Optimality: no portfolio within the limits is better along the slope of the goal at w (Frank-Wolfe gap)


def gap(w, score, risk, limits, aversion, costs, before, benchmark, groups):
    """Best gain of slope . (v - w) - costs (sum |v - before| - sum |w - before|) over all v within the linear limits.

    It is 0 at the optimum and bounds how far the goal is below its best; variables: v, and u >= |v - before|, x >= |v|.
    """
    n = len(w)
    slope = score - 2 * aversion * risk.matrix() @ (w - benchmark)
    one, eye, none = np.ones(n), np.eye(n), np.zeros((n, n))
    A = [np.hstack([eye, -eye, none]), np.hstack([-eye, -eye, none])]
    A += [np.hstack([eye, none, -eye]), np.hstack([-eye, none, -eye])]
    bound = [before, -before, np.zeros(n), np.zeros(n)]
    if limits.turnover is not None:
        A, bound = [*A, np.r_[0 * one, one, 0 * one][None]], [*bound, [2 * limits.turnover]]
    if limits.group_cap is not None:
        member = (groups == np.arange(groups.max() + 1)[:, None]).astype(float)
        for sign in (1, -1):
            A.append(np.hstack([sign * member, 0 * member, 0 * member]))
            bound.append(limits.group_cap + sign * member @ benchmark)
    cap = limits.cap or (1.0 if limits.long_only else limits.gross)
    low, high = np.full(n, 0.0 if limits.long_only else -cap), np.full(n, cap)
    if limits.band is not None:
        low, high = np.maximum(low, benchmark - limits.band), np.minimum(high, benchmark + limits.band)
    total = np.r_[one, 0 * one, 0 * one][None]
    equal = None
    if not limits.long_only:
        A, bound, equal = [*A, np.r_[0 * one, 0 * one, one][None]], [*bound, [limits.gross]], 0.0
    elif limits.fully_invested:
        equal = 1.0
    else:
        A, bound = [*A, total], [*bound, [1.0]]
    boxes = [*zip(low, high, strict=True)] + [(0, None)] * (2 * n)
    best = linprog(
        np.r_[-slope, costs * one, 0 * one], np.vstack(A), np.concatenate(bound), bounds=boxes,
        A_eq=None if equal is None else total, b_eq=None if equal is None else [equal],
    )  # fmt: skip
    assert best.status == 0, best.message
    here = slope @ w - costs * np.abs(w - before).sum()
    violated = np.vstack(A)[:, :n] @ w + np.vstack(A)[:, n:] @ np.r_[np.abs(w - before), np.abs(w)]
    assert (violated - np.concatenate(bound)).max() < 1e-7
    assert (low - w).max() < 1e-9
    assert (w - high).max() < 1e-9
    assert equal is None or abs(w.sum() - equal) < 2e-6  # weights below 1e-6 are written as 0
    return -best.fun - here


@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_the_solution_is_optimal(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 25))
    limits = [
        Limits(), Limits(cap=0.3, turnover=0.15), Limits(fully_invested=True, cap=0.4, group_cap=0.9),
        Limits(long_only=False, gross=1.5, cap=0.4, turnover=0.3), Limits(band=0.04, turnover=0.3, group_cap=0.2),
    ][int(rng.integers(5))]  # fmt: skip
    benchmark = rng.dirichlet(np.ones(n)) if limits.band else np.zeros(n)
    before = rng.dirichlet(np.ones(n)) * 0.9 if limits.long_only else np.zeros(n)
    before = benchmark.copy() if limits.band else np.minimum(before, limits.cap or 1.0)
    case = {
        "score": rng.normal(size=n) * 10 ** rng.uniform(-4, -1), "risk": random_risk(rng, n), "limits": limits,
        "aversion": float(rng.choice([0.5, 5, 50])), "costs": float(rng.choice([0, 0.0005, 0.01])), "before": before,
        "benchmark": benchmark, "groups": np.r_[0, 1, 2, rng.integers(0, 3, n - 3)],
    }  # fmt: skip
    w = solve(**case, slots=n + int(rng.integers(0, 6)))
    # The goal's unit is the largest of score, costs and risk; 2e-6 of the capital may sit in weights written as 0.
    assert gap(w, **case) < 5e-6 * np.abs(case["score"]).max() + 1e-8


def test_the_optimality_check_can_fail():
    case = {
        "score": np.array([0.02, 0.01, 0.0]), "risk": plain(np.full(3, 1e-4)), "limits": Limits(cap=0.6), "costs": 0.0,
        "aversion": 5.0, "before": np.zeros(3), "benchmark": np.zeros(3), "groups": np.zeros(3, int),
    }  # fmt: skip
    assert gap(solve(**case), **case) < 1e-8
    assert gap(np.array([0.5, 0.5, 0.0]), **case) > 1e-4


@given(st.integers(0, 10**6))
@settings(max_examples=15)
def test_empty_slots_change_nothing(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 12))
    for limits in (Limits(fully_invested=True), Limits(long_only=False, cap=0.3), Limits(turnover=0.2, cap=0.5)):
        case = {"score": 0.01 * rng.normal(size=n), "risk": random_risk(rng, n), "limits": limits, "costs": 0.001,
                "before": np.zeros(n)}  # fmt: skip
        if limits.fully_invested:
            case["before"] = np.full(n, 1 / n)
        assert np.allclose(solve(**case), solve(**case, slots=n + 7), atol=2e-6)


# The walk


def world(seed, T=40, N=6, holes=0.1):
    panel = make_panel(T=T, N=N, seed=seed, halts=0.02)
    rng = np.random.default_rng(seed)
    scores = 0.01 * rng.normal(size=(T, N))
    scores[rng.random((T, N)) < holes] = NAN
    return panel, scores, rng.random((T, N)) < 0.95


BOOKS = {
    "plain": ({"limits": Limits()}, False),
    "limited": ({"limits": Limits(cap=0.4, turnover=0.2), "model": "shrinkage"}, False),
    "short": ({"limits": Limits(long_only=False, cap=0.5)}, False),
    "tracking": ({"limits": Limits(band=0.2, active_risk=0.02, fully_invested=True)}, True),
}


def walk(panel, scores, mask, name, every=3):
    options, tracked = BOOKS[name]
    if tracked:
        options = {**options, "benchmark": np.full(panel.shape, 1 / panel.shape[1])}
    return optimise(panel, scores, mask, every=every, **SMALL, **options)


@pytest.mark.parametrize("name", BOOKS)
def test_a_walk_keeps_its_limits(name):
    panel, scores, mask = world(0)
    w = walk(panel, scores, mask, name)
    assert np.flatnonzero(w.decided)[0] == 10  # the first row with `least` = 10 rows before it
    assert np.flatnonzero(w.decided)[1] == 13
    assert not w.values[~w.decided].any()
    assert not w.values[~(mask & np.isfinite(scores))].any()
    limits, v = BOOKS[name][0]["limits"], w.values[w.decided]
    assert np.abs(v).max() <= (limits.cap or 1.0) + 1e-9
    assert np.isfinite(v).all()
    total = v.sum(1)
    assert total.max() < 1e-6 if not limits.long_only else total.max() < 1 + 1e-6
    assert not limits.fully_invested or total.min() > 1 - 1e-5
    assert (np.abs(v).sum(1) > 0.1).mean() > 0.5  # a book that holds something


@pytest.mark.parametrize("name", BOOKS)
@pytest.mark.parametrize("cut", [12, 25, 38])
def test_rewriting_the_future_moves_no_weight_of_the_past(name, cut):
    (panel, scores, mask), (other, scores2, mask2) = world(1), world(2, holes=0.0)
    before = walk(panel, scores, mask, name, every=1)
    fields = {k: np.vstack([v[: cut + 1], other.fields[k][cut + 1 :]]) for k, v in panel.fields.items()}
    join = [np.vstack([a[: cut + 1], b[cut + 1 :]]) for a, b in ((scores, scores2), (mask, mask2))]
    after = walk(panel.replace(fields=fields), *join, name, every=1)
    assert before.values[: cut + 1].tobytes() == after.values[: cut + 1].tobytes()
    assert np.array_equal(before.decided[: cut + 1], after.decided[: cut + 1])
    assert not np.array_equal(before.values[cut + 1 :], after.values[cut + 1 :])


def test_a_planted_look_ahead_is_caught():
    """The check above can fail: tomorrow's scores change today's weights."""
    (panel, scores, mask), (_, scores2, _) = world(1), world(2)
    ahead = walk(panel, np.roll(scores, -1, 0), mask, "plain", every=1).values
    scores[26:] = scores2[26:]
    assert not np.array_equal(ahead[:26], walk(panel, np.roll(scores, -1, 0), mask, "plain", every=1).values[:26])


@pytest.mark.parametrize("name", BOOKS)
@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_the_names_does_not_matter(name, seed):
    panel, scores, mask = world(seed)
    order = np.random.default_rng(seed).permutation(panel.shape[1])
    a = walk(panel, scores, mask, name).values
    b = walk(panel.assets(order), scores[:, order], mask[:, order], name).values
    assert np.abs(a[:, order] - b).max() < 1e-5


def test_same_input_same_bits():
    case = world(3)
    assert walk(*case, "limited").values.tobytes() == walk(*case, "limited").values.tobytes()


def test_the_walk_is_its_rows_one_by_one():
    """Held before = the last target drifted by closes up to t; names leave with their score."""
    panel, scores, mask = world(4)
    limits = Limits(cap=0.5, turnover=0.1)
    w = optimise(panel, scores, mask, limits, costs=0.002, every=4, **SMALL)
    close, r = panel.fields["close"].copy(), one_bar_returns(panel)
    for t in range(1, len(close)):
        close[t] = np.where(np.isfinite(close[t]), close[t], close[t - 1])
    last = None
    for t in np.flatnonzero(w.decided):
        names = np.flatnonzero(mask[t] & np.isfinite(scores[t]))
        risk = risk_at(r, int(t), names, window=30, least=10, factors=2)
        held = None
        if last is not None:
            moved = w.values[last] * np.where(w.values[last] > 0, close[t] / close[last], 0)
            held = moved / (moved.sum() + 1 - w.values[last].sum())
        extra = {} if held is None else {"left": held.sum() - held[names].sum()}
        before = None if held is None else held[names]
        alone = solve(scores[t, names], risk, limits, aversion=4 * 5.0, costs=0.002, before=before, **extra)
        assert np.abs(alone - w.values[t, names]).max() < 2e-6
        last = t
    assert last == 38


def test_the_programme_is_compiled_once(monkeypatch):
    made = []

    class Counted(Program):
        def __init__(self, *args):
            made.append(args[0])
            super().__init__(*args)

    monkeypatch.setattr(walking, "Program", Counted)
    walk(*world(5, N=9, holes=0.3), "plain", every=1)
    assert made == [9]
    scores = np.full((40, 70), 0.01)
    scores[:20, 30:] = NAN
    panel = make_panel(T=40, N=70)
    optimise(panel, scores, np.ones((40, 70), bool), every=5, **SMALL)
    assert made == [9, 32, 70]  # it grows with the names known so far, not with those to come


def test_drift_by_hand():
    w = drifted(np.array([0.5, 0.2, 0, 0.1]), np.array([10, 5, 1, NAN]), np.array([12, 4, 9, 3]), "D")
    # 0.6, 0.16, 0, 0.1 (no price before: has not moved), cash 0.2: capital 1.06
    assert np.allclose(w, np.array([0.6, 0.16, 0, 0.1]) / 1.06, atol=1e-15)
    short = drifted(np.array([0.5, -0.5]), np.array([1.0, 1]), np.array([1.0, 2]), "D")
    assert np.allclose(short, [1.0, -2.0], atol=1e-15)  # capital 0.5
    with pytest.raises(
        DataError, match=r"^optimise: on 2020-01-03 the targets have lost all capital; lower gross or cap$"
    ):
        drifted(np.array([0.5, -0.5]), np.array([1.0, 1]), np.array([1.0, 3]), "2020-01-03")


def test_expected_returns_by_hand():
    rng = np.random.default_rng(0)
    r = 0.02 * rng.normal(size=(60, 3))
    r[:45, 2] = NAN  # 15 known returns: too few
    z = np.full((60, 3), 2.0)
    out = expected_returns(z, r, 0.05, every=4, window=30)
    assert out[59, 0] == pytest.approx(0.05 * 2 * 2.0 * r[30:, 0].std())
    assert np.isnan(out[59, 2])
    assert np.isnan(out[18]).all()
    assert np.isfinite(out[19, :2]).all()
    r[40:] = 9.0
    assert np.array_equal(out[:40], expected_returns(z, r, 0.05, every=4, window=30)[:40], equal_nan=True)


# Messages


def error(kind, *args, **kw):
    with pytest.raises(kind) as e:
        optimise(*args, **SMALL, **kw)
    return str(e.value)


def test_messages():
    panel, scores, mask = world(0)
    args = (panel, scores, mask)
    assert error(ConfigError, *args, risk_aversion=-1) == "optimise: risk_aversion must be a number >= 0, got -1"
    assert error(ConfigError, *args, costs=NAN) == "optimise: costs must be a number >= 0, got nan"
    with pytest.raises(ConfigError, match=r"^optimise: cap must be a positive number, got 0$"):
        Limits(cap=0)
    with pytest.raises(ConfigError, match=r"^optimise: fully_invested is for long-only books; a long-short book sums"):
        Limits(long_only=False, fully_invested=True)
    told = "optimise: band limits the distance from a benchmark; give benchmark, (T, N) weights"
    assert error(ConfigError, *args, Limits(band=0.1)) == told
    told = "optimise: groups and limits.group_cap go together; give both or neither"
    assert error(ConfigError, *args, groups=np.zeros(6, int)) == told
    told = "optimise: groups have shape (5,); give one integer for each of 6 names"
    assert error(DataError, *args, Limits(group_cap=0.5), groups=np.zeros(5, int)) == told
    told = "optimise: a benchmark is for long-only books; a long-short book sums to 0"
    assert error(ConfigError, *args, Limits(long_only=False), benchmark=np.zeros((40, 6))) == told
    told = "optimise: scores of shape (39, 6), panel of shape (40, 6); they must agree"
    assert error(DataError, panel, scores[1:], mask) == told
    told = "optimise: benchmark of shape (6,), panel of shape (40, 6); they must agree"
    assert error(DataError, *args, benchmark=np.zeros(6)) == told
    assert error(ConfigError, *args, model="pca") == "optimise: model must be 'factor' or 'shrinkage', got 'pca'"
    bad = np.full((40, 6), 1 / 6)
    bad[10, 2] = NAN
    told = "optimise: the benchmark of 2015-01-15 is not a row of weights >= 0; write 0 for a name not in it"
    assert error(DataError, *args, benchmark=bad) == told
    told = "optimise: on 2015-01-15 no name of the benchmark has a score; a book cannot follow it"
    assert error(DataError, *args, benchmark=np.zeros((40, 6))) == told
    scores[10, 0] = np.inf
    told = "portfolio: the score of column 0 at row 10 is infinite; give a number, or NaN for none"
    assert error(DataError, *args) == told


def test_too_little_history_names_the_date():
    panel, scores, mask = world(0)
    close = np.full(panel.shape, NAN)
    close[30:] = panel.fields["close"][30:]
    told = (
        "optimise: on 2015-01-15: risk: no name has 10 known returns in the window of 11 bars (the best has 0); "
        "start later, or ask for fewer (least)"
    )
    assert error(DataError, panel.replace(fields={"close": close}), scores, mask) == told


def test_impossible_limits_name_the_date_and_the_limit():
    panel, scores, mask = world(0, holes=0.0)
    on = np.ones_like(mask)
    none = "no portfolio of 6 names meets every limit"
    told = f"optimise: on 2015-01-15 {none}; without fully_invested one would: loosen it"
    assert error(DataError, panel, scores, on, Limits(cap=0.1, fully_invested=True)) == told
    b = np.full((40, 6), 1 / 6)
    tight = Limits(cap=0.16, band=0.001)
    told = f"optimise: on 2015-01-15 {none}; without band = 0.001 one would: loosen it"
    assert error(DataError, panel, scores, on, tight, benchmark=b) == told
    # 1/6 each in two groups of three, but the caps allow only 0.1 a name: neither band nor group alone is at fault
    both = Limits(cap=0.1, band=0.001, group_cap=0.01)
    told = f"optimise: on 2015-01-15 {none}; without the bounds of a name (cap 0.1) one would: loosen it"
    assert error(DataError, panel, scores, on, both, benchmark=b, groups=np.arange(6) % 2) == told
    all_three = Limits(cap=0.1, band=0.001, group_cap=0.01, fully_invested=True, active_risk=1e-9)
    b2 = b.copy()
    b2[:, 0] += 0.3
    told = f"optimise: on 2015-01-15 {none}, nor would leaving out a single one help; loosen several"
    assert error(DataError, panel, scores, on, all_three, benchmark=b2, groups=np.arange(6) % 2) == told


def test_a_solver_that_fails_is_an_error(monkeypatch):
    from hitherto.portfolio import program

    monkeypatch.setattr(program, "_run", lambda cp, problem: "solver error")
    told = "optimise: on 2015-01-15 the solver ended with 'solver error'; check that date's scores, costs and risk"
    assert error(DataError, *world(0)) == told


def test_without_cvxpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    told = 'the portfolio optimiser needs an optional package: pip install "hitherto[portfolio]"'
    assert error(MissingExtraError, *world(0)) == told


# The page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "portfolio.md"


def run_block(number, capsys):
    """Run one python block of the page; return what it prints and what the page says it prints."""
    blocks = re.findall(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", PAGE.read_text(encoding="utf-8"), re.S)
    code, told = blocks[number]
    exec(compile(code, PAGE.name, "exec"), {})
    return capsys.readouterr().out.split(), told.split()


def test_the_example_worked_by_hand(capsys):
    printed, told = run_block(0, capsys)
    assert printed == told == ["[0.2", "0.4]"]


@pytest.mark.slow
def test_the_example_on_real_prices(capsys):
    printed, told = run_block(1, capsys)
    assert printed == told
