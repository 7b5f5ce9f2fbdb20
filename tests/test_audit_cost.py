"""The cheap ways of the audit give what the plain ones give: comparing, counting, planting; and how often it runs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitherto.audit import AuditPlan, FunctionTarget, audit, canary, made_up_panel, moves
from hitherto.audit.probes import determinism, differs, earliest, past_changes, rewriting, scale, tolerances, truncation
from hitherto.audit.target import Counted
from hitherto.errors import ConfigError
from hitherto.seeds import Stream

RNG = Stream(3, "test")
ODD = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 1.0 + 1e-7, 1.0 + 1e-3, -1.0, 1e-45, 3e38]


@pytest.fixture(autouse=True)
def _compiled_always(monkeypatch):
    """Small arrays would go the plain way; tiles of a few rows, so that their seams are met too."""
    monkeypatch.setattr(moves, "FEW", 0)
    monkeypatch.setattr(moves, "MANY", 0)
    monkeypatch.setattr(moves, "TILE", 40)


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=150, listings=24, seed=2)


@st.composite
def answers(draw):
    """Two answers (T, N, K) that agree in most places, cuts (N,), tolerances (K,), gaps (T, N), and a layout."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    T, N, K = draw(st.integers(1, 12)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    with np.errstate(over="ignore"):
        old = rng.choice(ODD, (T, N, K)).astype(dtype)
        other = rng.choice(ODD, (T, N, K)).astype(dtype)
    new = np.where(rng.random((T, N, K)) < draw(st.sampled_from([0.0, 0.02, 0.3, 1.0])), other, old)
    cuts = rng.integers(-1, T, N)
    allowed = rng.choice([0.0, 0.0, 1e-6, 1e-2, np.inf], K)
    layout = draw(st.sampled_from(["views", "some", "apart", "turned"]))
    return old, new, cuts, allowed, rng.random((T, N)) < 0.5, layout


def laid_out(block, layout):
    """Columns of (T, N, K): views of one array, of every second number of one, arrays of their own, or turned."""
    K = block.shape[2]
    if layout == "apart":
        return {f"c{k}": block[:, :, k].copy() for k in range(K)}
    if layout == "some":
        wide = np.full((*block.shape[:2], 2 * K + 1), 7.0, block.dtype)
        wide[:, :, 1::2] = block
        return {f"c{k}": wide[:, :, 2 * k + 1] for k in range(K)}
    if layout == "turned":
        block = np.asfortranarray(block)
    return {f"c{k}": block[:, :, k] for k in range(K)}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(answers())
def test_moves_are_those_of_a_mask_per_column(drawn):
    old, new, cuts, allowed, gap, layout = drawn
    a, b = laid_out(old, layout), laid_out(new[: cuts.max() + 1], layout)
    got = moves.moves(a, b, cuts, {f"c{k}": v for k, v in enumerate(allowed)}, gap=gap)
    want = []
    for k in range(old.shape[2]):
        if cuts.max() < 0:
            continue
        changed = past_changes(old[:, :, k], new[:, :, k], cuts, allowed[k])
        if not changed.any():
            continue
        want.append(f"c{k}")
        move = got[f"c{k}"]
        assert np.array_equal(move.first, np.where(changed.any(axis=0), changed.argmax(axis=0), -1))
        assert move.only_gaps == gap[changed].all()
        e, plain = move.evidence(old[:, :, k], new[:, :, k]), earliest(changed, old[:, :, k], new[:, :, k])
        assert (e.row, e.listing) == (plain.row, plain.listing)
        assert np.array_equal([e.old, e.new], [plain.old, plain.new], equal_nan=True)
        twin = moves.by_numpy(old[:, :, k], new[:, :, k], cuts, allowed[k], gap)
        assert np.array_equal(twin.first, move.first)
        assert np.array_equal(twin.both, move.both)
        assert twin.only_gaps == move.only_gaps
    assert list(got) == want


def test_the_rules_of_a_difference():
    """Zero equals minus zero, every NaN every NaN; a number that appears or goes is a change, at any tolerance."""
    quiet, loud = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    old = np.array([[0.0, quiet, 1.0, np.nan, np.inf, 1.0]], np.float32)
    new = np.array([[-0.0, loud, np.nan, 1.0, -np.inf, 1.0 + 1e-3]], np.float32)
    for tolerance, want in ((0.0, [0, 0, 1, 1, 1, 1]), (0.01, [0, 0, 1, 1, 1, 0])):
        got = moves.moves({"y": old}, {"y": new}, np.zeros(6, int), {"y": tolerance})["y"]
        assert ((got.first >= 0) == np.array(want, bool)).all()
        assert (differs(old, new, tolerance) == np.array(want, bool)).all()
        assert (got.both >= 0).tolist() == [False] * 5 + [tolerance == 0]
    assert moves.moves({"y": old}, {"y": new}, np.full(6, -1), {"y": 0.0}) == {}
    assert moves.moves({"y": old}, {"y": new}, np.zeros(6, int), {"y": np.inf}) == {}


def test_whole_numbers_and_mixed_widths_are_compared_plainly():
    old = {"n": np.array([[1, 2], [3, 4]]), "f": np.zeros((2, 2), np.float32)}
    new = {"n": np.array([[1.0, 2.0], [3.0, 5.0]]), "f": np.array([[0.0, 0.0], [0.5, 0.0]])}
    got = moves.moves(old, new, np.ones(2, int), {"n": 0.0, "f": 0.0})
    assert got["n"].first.tolist() == [-1, 1]
    assert got["f"].first.tolist() == [1, -1]


def test_neighbouring_views_are_one_block_and_others_are_not():
    wide = np.arange(24.0).reshape(2, 3, 4)
    views = {f"c{k}": wide[:, :, k] for k in range(4)}
    apart = {**views, "own": np.zeros((2, 3))}
    assert [group for group, _ in moves.blocks(list(apart), apart)] == [["c0", "c1", "c2", "c3"], ["own"]]
    ((group, (block,)),) = moves.blocks(["c1", "c2"], views)
    assert group == ["c1", "c2"]
    assert np.array_equal(block, wide[:, :, 1:3])
    assert np.shares_memory(block, wide)
    assert not block.flags.writeable
    assert [g for g, _ in moves.blocks(["c0", "c2", "c1"], views)] == [["c0"], ["c2"], ["c1"]]
    # neighbours on one side only are none
    mixed = {"c0": wide[:, :, 0].copy(), "c1": wide[:, :, 1].copy()}
    assert [g for g, _ in moves.blocks(["c0", "c1"], views, mixed)] == [["c0"], ["c1"]]
    # rows one after the other in memory are no columns side by side
    lines = np.zeros((2, 1, 3))
    stacked = {"a": lines[0], "b": lines[1]}
    assert [g for g, _ in moves.blocks(["a", "b"], stacked)] == [["a"], ["b"]]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(answers())
def test_known_numbers_are_counted_as_isfinite_does(drawn):
    block, layout = drawn[0], drawn[-1]
    count, live = moves.known(laid_out(block, layout), block.shape[:2])
    assert count == {f"c{k}": int(np.isfinite(block[:, :, k]).sum()) for k in range(block.shape[2])}
    assert np.array_equal(live, np.isfinite(block).any(axis=2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_planted_columns_are_the_same_bits_both_ways(market, dtype):
    rng = np.random.default_rng(5)
    draw = rng.random(market.shape)
    more = (canary.Leak(149), canary.Leak(150), canary.Leak(3, -2.0, 0.5))
    leaks = {str(leak): leak for leak in (*canary.LADDER, *more)}
    close = market.fields["close"].copy()
    close[rng.random(close.shape) < 0.02] = 0.0  # a price that nothing can be divided by
    close[rng.random(close.shape) < 0.02] = np.inf
    odd = market.replace(fields={**market.fields, "close": close})
    for panel in (market, odd, odd.rows(40)):
        host = rng.choice(np.array(ODD), (*panel.shape, 3)).astype(dtype)[:, :, 1]
        for ratio in (0.7, 1e308):
            with np.errstate(over="ignore", invalid="ignore"):
                plain = canary._planted(host, panel, leaks, ratio, draw[: panel.shape[0]])
                fast = canary._compiled(host, panel, leaks, ratio, draw[: panel.shape[0]])
            assert list(plain) == list(fast)
            for name, values in plain.items():
                assert fast[name].dtype == values.dtype
                same = (fast[name] == values) & (np.signbit(fast[name]) == np.signbit(values))
                assert (same | (np.isnan(fast[name]) & np.isnan(values))).all(), (name, ratio)


def views(panel, peek=0):
    """Six features as views of one (T, N, F) float32 array; column 3 reads ``peek`` bars ahead."""
    close = panel.view("close")
    out = np.full((*panel.shape, 6), np.nan, np.float32)
    for k in range(6):
        out[k + 1 :, :, k] = close[k + 1 :] / close[: -k - 1] - 1.0
    if peek:
        out[:-peek, :, 3] = close[peek:] / close[:-peek] - 1.0
    return {f"f{k}": out[:, :, k] for k in range(6)}


def told(report):
    """All that a report says but the seconds."""
    probes = [(r.probe, r.status, r.detail, r.cuts, r.hits, r.noise, r.findings, r.dependent) for r in report.results]
    return probes, report.findings, report.canaries, report.evaluations, report.verdict


@pytest.mark.parametrize("unit", ["asset", "date"])
@pytest.mark.parametrize("peek", [0, 2])
@pytest.mark.parametrize("exact", [True, False])
def test_an_audit_says_the_same_whichever_way_it_compares(market, monkeypatch, unit, peek, exact):
    target = FunctionTarget("views", lambda p: views(p, peek), unit, exact)
    fast = told(audit(target, market))
    monkeypatch.setattr(moves, "FEW", 1 << 60)
    monkeypatch.setattr(moves, "MANY", 1 << 60)
    assert told(audit(target, market)) == fast
    assert bool(fast[1]) == bool(peek)


def test_noise_is_measured_and_allowed_for(market):
    """A target that differs from itself: P0 names the column, its noise reaches the tolerances of the others."""
    seed = np.random.default_rng(0)

    def shaky(panel):
        out = views(panel)
        out["f2"] += np.float32(1e-4) * seed.standard_normal(panel.shape).astype(np.float32)
        return out

    target = Counted(FunctionTarget("shaky", shaky, "asset"))
    p0 = determinism.probe(target, market, None, None)
    assert [f.where for f in p0.findings] == ["shaky.f2"]
    assert list(p0.noise) == ["f2"]
    base = target.run(market)
    allowed = tolerances(target, base, p0.noise, same_shape=True)
    assert allowed == {**dict.fromkeys(base, 0.0), "f2": 4.0 * p0.noise["f2"] * scale(base["f2"])}


def test_a_column_that_only_the_first_run_has_is_named(market):
    runs = iter([6, 5])
    target = FunctionTarget("fading", lambda p: dict(list(views(p).items())[: next(runs)]), "asset")
    with pytest.raises(ConfigError, match="audit: fading gave 'f5' in the first of two equal runs only"):
        determinism.probe(target, market, None, None)


def test_scales_are_measured_once_and_only_of_the_kept_answer(market):
    target = Counted(FunctionTarget("net", views, "asset", exact=False))
    base = target.run(market)
    allowed = tolerances(target, base, {}, same_shape=True)
    assert target.scales == {n: scale(v) for n, v in base.items()}
    assert allowed == {n: 1e-5 * scale(v) for n, v in base.items()}
    other = {n: 2 * v for n, v in base.items()}
    assert tolerances(target, other, {}, same_shape=True) == {n: 1e-5 * scale(v) for n, v in other.items()}
    assert tolerances(target, base, {}, same_shape=True) == allowed


def test_the_default_plan_needs_eight_evaluations(market):
    report = audit(AuditPlan(market, (FunctionTarget("views", views, "asset"),)))
    assert report.exit_code == 0
    assert report.evaluations == 8


def test_listings_that_do_not_count_are_not_looked_at(market):
    """``independent`` compares the listings whose data stayed, and truncation the rows up to the cut."""
    assert rewriting.independent(FunctionTarget("views", views, "asset"), market, RNG)

    def ranked(panel):
        close = panel.view("close")
        return {"rank": close.argsort(axis=1).argsort(axis=1).astype(float)}

    assert not rewriting.independent(FunctionTarget("ranked", ranked, "asset"), market, RNG)

    def count(panel):
        out = np.zeros(panel.shape)
        out[-1] = panel.shape[0]  # the last row only: no row before a cut ever moves but the last of the shorter one
        return {"n": out}

    p1 = truncation.probe(FunctionTarget("count", count), market, np.array([70, 90]))
    assert p1.hits == {"n": (2, 2)}
    assert [f.first for f in p1.findings] == [str(market.sessions[70])]


def test_numba_is_not_loaded_for_a_small_audit():
    """A function in numpy on the default panel never pays for compiling."""
    script = (
        "import sys, numpy as np\n"
        "from hitherto.audit import FunctionTarget, audit, made_up_panel\n"
        "r = audit(FunctionTarget('x', lambda p: {'y': p.view('close') * 2.0}, 'asset'), made_up_panel())\n"
        "print(r.exit_code, 'numba' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert out.stdout.split() == ["0", "False"]


def test_planting_notes_where_the_target_gives_numbers(market):
    planted = canary.Planted(FunctionTarget("views", views, "asset"), RNG)
    assert planted.live is None
    out = planted.run(market)
    real = [v for n, v in out.items() if n not in planted.planted]
    assert len(real) == 6
    assert np.array_equal(planted.live, np.any([np.isfinite(v) for v in real], axis=0))
    planted.run(market.rows(30))
    assert planted.live.shape == market.shape
    assert planted.host == "f0"  # the first of those that know most
