"""Construct: targets from scores, against hand-worked rows, the plain loops they replace, and a twin of Qlib's rule."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError, DataError
from hitherto.portfolio.construct import (
    buy_and_hold,
    equal_weight,
    long_short,
    quantiles,
    score_weighted,
    topk,
    topk_dropout,
)

NAN = np.nan


def case(seed, T=12, N=9, holes=0.2):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (T, N)) / 2.0
    scores[rng.random((T, N)) < holes] = NAN
    scores[rng.random(T) < 0.1] = NAN
    return scores, rng.random((T, N)) < 0.9


def qlib_twin(scores, mask, k, drop):
    """Qlib's TopkDropout rule in sets and sorted lists; returns the holdings per row."""
    held, out = set(), []

    def best(names, score):
        return sorted(names, key=lambda name: (-score[name], name))

    for row, ok in zip(scores, mask, strict=True):
        score = {n: row[n] if ok[n] and np.isfinite(row[n]) else -np.inf for n in range(len(row))}
        known = [n for n in score if score[n] > -np.inf]
        if known:
            today = best(set(known) - held, score)[: drop + k - len(held)]
            both = best(held | set(today), score)
            sell = held & set(both[len(both) - min(drop, len(both)) :])
            held = (held - sell) | set(today[: len(sell) + k - len(held)])
        out.append(set(held))
    return out


def best(row, among):
    """Columns of ``among``, best score first, ties by column: a stable sort."""
    columns = np.flatnonzero(among)
    return columns[np.argsort(-row[columns], kind="stable")]


def scheduled(known, every):
    return known & ((np.arange(len(known)) - int(np.argmax(known))) % every == 0)


def slow_topk(scores, mask, k, every):
    ok = mask & np.isfinite(scores)
    values, decided = np.zeros(scores.shape), scheduled(ok.any(1), every)
    for t in np.flatnonzero(decided):
        values[t, best(scores[t], ok[t])[:k]] = 1.0 / k
    return values, decided


def slow_dropout(scores, mask, k, drop, every):
    ok = mask & np.isfinite(scores)
    values, decided = np.zeros(scores.shape), scheduled(ok.any(1), every)
    held = np.zeros(scores.shape[1], bool)
    for t in np.flatnonzero(decided):
        room = k - int(held.sum())
        today = best(scores[t], ok[t] & ~held)[: drop + room]
        both = held.copy()
        both[today] = True
        worst = best(np.where(ok[t], scores[t], -np.inf), both)[max(0, int(both.sum()) - drop) :]
        sell = worst[held[worst]]
        held[sell] = False
        held[today[: len(sell) + room]] = True
        values[t, held] = 1.0 / k
    return values, decided


def slow_long_short(scores, mask, k, quantile, every, gross):
    ok = mask & np.isfinite(scores)
    values, decided = np.zeros(scores.shape), scheduled(ok.sum(1) >= 2, every)
    for t in np.flatnonzero(decided):
        order = best(scores[t], ok[t])
        m = min(k or max(1, int(np.floor(quantile * len(order) + 1e-9))), len(order) // 2)
        values[t, order[:m]] = gross / 2 / m
        values[t, order[-m:]] = -gross / 2 / m
    return values, decided


def wide(seed):
    """Scores of every kind a kernel may meet: ties, signed zeros, huge and tiny ones, holes, empty rows."""
    rng = np.random.default_rng(seed)
    T, N = int(rng.integers(1, 25)), int(rng.integers(1, 60))
    kinds = [rng.normal(size=(T, N)), rng.integers(0, 4, (T, N)) / 2.0, rng.choice([-0.0, 0.0, 1e308, -1e308, 5e-324])]
    scores = np.where(rng.random((T, N)) < 0.3, kinds[2], kinds[int(rng.integers(2))])
    scores[rng.random((T, N)) < rng.choice([0, 0.1, 0.7])] = NAN
    scores[rng.random(T) < 0.1] = NAN
    return scores, rng.random((T, N)) < rng.choice([0.5, 0.95, 1.0])


def same(w, slow):
    assert np.array_equal(w.decided, slow[1])
    assert w.values.tobytes() == slow[0].tobytes()


@given(st.integers(0, 10**6), st.integers(1, 70), st.integers(0, 70), st.integers(1, 4))
def test_the_kernels_equal_the_plain_loops_to_the_bit(seed, k, drop, every):
    scores, mask = wide(seed)
    same(topk(scores, mask, k, every), slow_topk(scores, mask, k, every))
    same(topk_dropout(scores, mask, k, min(k, drop), every), slow_dropout(scores, mask, k, min(k, drop), every))
    same(long_short(scores, mask, k=k, every=every), slow_long_short(scores, mask, k, None, every, 2.0))
    q = (1 + drop % 50) / 100
    same(long_short(scores, mask, quantile=q, gross=1.3), slow_long_short(scores, mask, None, q, 1, 1.3))


def test_a_loop_that_orders_ties_the_other_way_is_caught():
    """The comparison above can fail: among equal scores the later column is another book."""
    scores, mask = np.ones((3, 6)), np.ones((3, 6), bool)
    values, _ = slow_topk(scores[:, ::-1], mask, 2, 1)
    assert topk(scores, mask, 2).values.tobytes() != np.ascontiguousarray(values[:, ::-1]).tobytes()


def test_views_and_other_numbers_are_taken():
    scores, mask = wide(3)
    a = topk(scores[::2, ::-1], mask[::2, ::-1], 3)
    b = topk(scores[::2, ::-1].copy(), mask[::2, ::-1].copy(), 3)
    assert np.array_equal(a.values, b.values)
    whole = np.array([[3, 1, 2]])
    whole.flags.writeable = False
    assert topk(whole, whole > 0, 2).values.tolist() == [[0.5, 0, 0.5]]


def test_importing_the_rules_leaves_numba_out():
    code = "import sys, hitherto.portfolio.construct; print([m for m in ('numba', 'cvxpy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_topk_by_hand():
    scores = np.array([[NAN, NAN, NAN], [3, 1, 2], [1, 1, 1], [NAN, 5, NAN]], float)
    w = topk(scores, np.ones((4, 3), bool), 2)
    assert w.decided.tolist() == [False, True, True, True]
    assert w.values.tolist() == [[0, 0, 0], [0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0.5, 0]]


def test_the_mask_keeps_names_out():
    w = topk(np.array([[3.0, 1, 2]]), np.array([[False, True, True]]), 1)
    assert w.values.tolist() == [[0, 0, 1]]


def test_topk_dropout_by_hand():
    scores = np.array([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], float)
    w = topk_dropout(scores, np.ones((3, 5), bool), 2, 1)
    # row 0: the top two. row 1: today = {4, 3}... best (1 + 0) = [4]; held {0, 1} + 4: the worst is 0 -> out, 4 in.
    # row 2: today = [3]; held {1, 4} + 3: the worst is 1 -> out, 3 in.
    assert [set(np.flatnonzero(v)) for v in w.values] == [{0, 1}, {1, 4}, {3, 4}]
    assert set(w.values[w.values > 0]) == {0.5}


def test_a_held_name_without_a_score_leaves_through_the_same_quota():
    scores = np.array([[5, 4, 3, 2], [NAN, 4, 3, 2], [NAN, NAN, 3, 2]], float)
    mask = np.ones((3, 4), bool)
    w = topk_dropout(scores, mask, 2, 1)
    assert [set(np.flatnonzero(v)) for v in w.values] == [{0, 1}, {1, 2}, {2, 3}]
    never = topk_dropout(scores, mask, 2, 0)
    assert [set(np.flatnonzero(v)) for v in never.values] == [{0, 1}] * 3


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 5))
def test_topk_dropout_equals_its_twin(seed, k, drop):
    drop = min(drop, k)
    scores, mask = case(seed)
    w = topk_dropout(scores, mask, k, drop)
    twin = qlib_twin(scores, mask, k, drop)
    for t in np.flatnonzero(w.decided):
        assert set(np.flatnonzero(w.values[t])) == twin[t]
        assert np.all(w.values[t][w.values[t] != 0] == 1 / k)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_dropping_all_is_topk(seed, k, every):
    # With k + drop <= N names scored, replacing up to k of k names reaches the top k unless a tie is kept.
    scores = np.random.default_rng(seed).permuted(np.tile(np.arange(9.0), (12, 1)), axis=1)
    mask = np.ones(scores.shape, bool)
    a, b = topk_dropout(scores, mask, k, k, every), topk(scores, mask, k, every)
    assert np.array_equal(a.values, b.values)
    assert np.array_equal(a.decided, b.decided)


@given(st.integers(0, 10**6))
def test_dropout_replaces_at_most_drop_names(seed):
    scores, mask = case(seed, holes=0)
    w = topk_dropout(scores, np.ones_like(mask), 4, 1)
    held = w.values[w.decided] > 0
    assert (held.sum(1) == 4).all()
    assert ((held[1:] & ~held[:-1]).sum(1) <= 1).all()


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_long_short_is_neutral(seed, every):
    scores, mask = case(seed)
    w = long_short(scores, mask, quantile=0.3, every=every)
    v = w.values[w.decided]
    assert np.allclose(v.sum(1), 0, atol=1e-12)
    assert np.allclose(np.abs(v).sum(1), 2)
    assert not w.values[~w.decided].any()
    ok = mask & np.isfinite(scores)
    for t in np.flatnonzero(w.decided):
        assert scores[t][w.values[t] > 0].min() >= scores[t][w.values[t] < 0].max()
        assert ok[t][w.values[t] != 0].all()


def test_long_short_by_hand():
    scores = np.array([[4.0, 3, 2, 1], [NAN, NAN, 2, 1], [NAN, 1, NAN, NAN]])
    w = long_short(scores, np.ones((3, 4), bool), k=2, gross=1.0)
    assert w.values.tolist() == [[0.25, 0.25, -0.25, -0.25], [0, 0, 0.5, -0.5], [0, 0, 0, 0]]
    assert w.decided.tolist() == [True, True, False]


def test_quantiles_by_hand():
    scores = np.array([[4.0, 3, 2, 1, NAN], [1, 1, 1, 2, 0], [NAN, NAN, NAN, NAN, 1]])
    low, high = quantiles(scores, np.ones((3, 5), bool), 2)
    assert low.decided.tolist() == high.decided.tolist() == [True, True, False]
    # row 1: ranks upwards 4 | 2 | 1 | 0 | 3 (of equal scores the lower column is better); 2 x 2 = 4 <= 4: three below.
    third = 1 / 3
    assert low.values.tolist() == [[0, 0, 0.5, 0.5, 0], [0, third, third, 0, third], [0] * 5]
    assert high.values.tolist() == [[0.5, 0.5, 0, 0, 0], [0.5, 0, 0, 0.5, 0], [0] * 5]
    assert [w.name for w in (low, high)] == ["quantile 1 of 2", "quantile 2 of 2"]


def qcut_twin(m, q):
    """Quantile of each rank 0..m-1 as ``pandas.qcut`` defines it, in exact fractions: edges at b(m - 1)/q."""
    edges = [Fraction(b * (m - 1), q) for b in range(1, q + 1)]
    return [next(b for b, edge in enumerate(edges) if r <= edge) for r in range(m)]


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 3))
def test_quantiles_equal_their_twin(seed, q, every):
    scores, mask = wide(seed)
    parts = quantiles(scores, mask, q, every)
    ok = mask & np.isfinite(scores)
    assert np.array_equal(parts[0].decided, scheduled(ok.sum(1) >= q, every))
    for t in np.flatnonzero(parts[0].decided):
        upwards = best(scores[t], ok[t])[::-1]
        twin = np.array(qcut_twin(len(upwards), q))
        for b, w in enumerate(parts):
            expected = np.zeros(scores.shape[1])
            expected[upwards[twin == b]] = 1.0 / (twin == b).sum()
            assert np.array_equal(w.values[t], expected)
    assert not any(w.values[~w.decided].any() for w in parts)


def test_quantiles_are_those_of_pandas():
    scores = np.random.default_rng(5).normal(size=(1, 103))
    parts = quantiles(scores, np.ones((1, 103), bool), 10)
    theirs = pd.qcut(scores[0], 10, labels=False)
    assert np.array_equal(np.argmax([w.values[0] > 0 for w in parts], axis=0), theirs)


def test_score_weighted_by_hand():
    scores = np.array([[4.0, 2, 0, NAN], [1, 1, 1, 1], [1, 3, 3, 9]])
    mask = np.ones((3, 4), bool)
    w = score_weighted(scores, mask)
    assert w.decided.tolist() == [True, False, True]  # equal scores are no opinion
    assert np.allclose(w.values, [[0.5, 0, -0.5, 0], [0] * 4, [-0.3, -0.1, -0.1, 0.5]], atol=1e-15)
    long = score_weighted(scores, mask, long_only=True, gross=0.8)
    assert np.allclose(long.values, [[0.8, 0, 0, 0], [0] * 4, [0, 0, 0, 0.8]], atol=1e-15)
    # average ranks 1, 2.5, 2.5, 4 around 2.5
    ranks = score_weighted(scores, mask, kind="rank", gross=2.0)
    assert np.allclose(ranks.values, [[1, 0, -1, 0], [0] * 4, [-1, 0, 0, 1]], atol=1e-15)


@given(st.integers(0, 10**6), st.sampled_from(["score", "rank"]), st.booleans(), st.integers(1, 3))
def test_score_weighted_equals_its_twin(seed, kind, long_only, every):
    scores, mask = wide(seed)
    w = score_weighted(scores, mask, kind=kind, long_only=long_only, every=every, gross=1.5)
    ok = pd.DataFrame(np.where(mask, scores, NAN) / 1e154)  # alphalens on numbers that do not overflow
    if kind == "rank":
        ok = ok.rank(axis=1)
    apart = ok.sub(ok.mean(axis=1), axis=0)
    part = apart.clip(lower=0) if long_only else apart
    for t in np.flatnonzero(w.decided):
        scale = np.abs(part.loc[t]).sum()
        if scale > 1e-150:  # below it the twin's own division has lost the digits
            assert np.allclose(w.values[t], 1.5 * part.loc[t].fillna(0) / scale, rtol=1e-9, atol=1e-12)
        assert np.abs(w.values[t]).sum() == pytest.approx(1.5)
        assert long_only or abs(w.values[t].sum()) < 1e-12
        assert not w.values[t][np.isnan(ok.loc[t])].any()


def test_every_counts_from_the_first_known_bar():
    scores = np.ones((9, 2))
    scores[:2] = NAN
    scores[5] = NAN
    mask = np.ones((9, 2), bool)
    assert np.flatnonzero(topk(scores, mask, 1, every=3).decided).tolist() == [2, 8]  # row 5 knows nothing: kept
    assert np.flatnonzero(equal_weight(mask, every=4, start=3).decided).tolist() == [3, 7]


def test_baselines_by_hand():
    mask = np.array([[False, False], [True, False], [True, True]])
    assert equal_weight(mask).values.tolist() == [[0, 0], [1, 0], [0.5, 0.5]]
    hold = buy_and_hold(mask)
    assert hold.decided.tolist() == [False, True, False]
    assert hold.values.tolist() == [[0, 0], [1, 0], [0, 0]]
    assert buy_and_hold(mask, start=2).values.tolist() == [[0, 0], [0, 0], [0.5, 0.5]]
    assert not buy_and_hold(np.zeros((3, 2), bool)).decided.any()


MAKERS = {
    "topk": lambda s, m: topk(s, m, 3, 2),
    "dropout": lambda s, m: topk_dropout(s, m, 3, 1, 2),
    "long_short": lambda s, m: long_short(s, m, k=2, every=2),
    "quantile": lambda s, m: long_short(s, m, quantile=0.2),
    "quantiles": lambda s, m: quantiles(s, m, 2, 2)[1],
    "score": lambda s, m: score_weighted(s, m, every=2),
    "rank": lambda s, m: score_weighted(s, m, kind="rank", long_only=True),
    "equal": lambda s, m: equal_weight(m, 2),
    "hold": lambda s, m: buy_and_hold(m),
}


@pytest.mark.parametrize("maker", MAKERS)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 11))
def test_rewriting_the_future_leaves_the_past(maker, seed, cut):
    (scores, mask), (other, other_mask) = case(seed), case(seed + 1)
    before = MAKERS[maker](scores, mask)
    scores[cut + 1 :], mask[cut + 1 :] = other[cut + 1 :], other_mask[cut + 1 :]
    after = MAKERS[maker](scores, mask)
    assert np.array_equal(before.values[: cut + 1], after.values[: cut + 1])
    assert np.array_equal(before.decided[: cut + 1], after.decided[: cut + 1])


def test_a_planted_look_ahead_is_caught():
    """The check above can fail: a top-k of tomorrow's scores changes with the future."""
    (scores, mask), (other, _) = case(1, holes=0), case(2, holes=0)
    ahead = topk(np.roll(scores, -1, axis=0), mask, 2).values
    scores[6:] = other[6:]
    assert not np.array_equal(ahead[:6], topk(np.roll(scores, -1, axis=0), mask, 2).values[:6])


def test_messages():
    s, m = np.ones((2, 3)), np.ones((2, 3), bool)
    with pytest.raises(ConfigError, match=r"^portfolio: k must be a whole number of names >= 1, got 0$"):
        topk(s, m, 0)
    with pytest.raises(ConfigError, match=r"^topk_dropout: drop must lie in 0..k = 0..2, got 3$"):
        topk_dropout(s, m, 2, 3)
    with pytest.raises(ConfigError, match=r"^portfolio: every must be a whole number of bars >= 1, got 0$"):
        topk(s, m, 1, every=0)
    with pytest.raises(ConfigError, match=r"every must be a whole number of bars >= 1, got 0"):
        equal_weight(m, every=0)
    with pytest.raises(ConfigError, match=r"^long_short: give either k \(names a side\) or quantile"):
        long_short(s, m)
    with pytest.raises(ConfigError, match=r"^long_short: quantile must lie in \(0, 0.5\], got 0.7$"):
        long_short(s, m, quantile=0.7)
    with pytest.raises(ConfigError, match=r"^long_short: gross must be a positive fraction of capital, got 0$"):
        long_short(s, m, k=1, gross=0)
    with pytest.raises(ConfigError, match=r"^quantiles: q must be a whole number of quantiles >= 2, got 1$"):
        quantiles(s, m, 1)
    with pytest.raises(ConfigError, match=r"^score_weighted: kind must be 'score' or 'rank', got 'z'$"):
        score_weighted(s, m, kind="z")
    with pytest.raises(ConfigError, match=r"^score_weighted: gross must be a positive fraction of capital, got nan$"):
        score_weighted(s, m, gross=NAN)
    with pytest.raises(DataError, match=r"^portfolio: scores have shape \(2, 3\), the mask \(1, 3\); use one panel"):
        topk(s, m[:1], 1)
    with pytest.raises(DataError, match=r"^portfolio: the score of column 1 at row 0 is infinite; give a number"):
        topk(np.array([[1.0, np.inf]]), np.ones((1, 2), bool), 1)
    with pytest.raises(ConfigError, match=r"^portfolio: start is row 5; the mask has rows 0..1$"):
        buy_and_hold(m, start=5)
