"""Construct: targets from scores, against hand-worked rows and a set-based twin of Qlib's rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError, DataError
from hitherto.portfolio.construct import buy_and_hold, equal_weight, long_short, topk, topk_dropout

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
    with pytest.raises(DataError, match=r"^portfolio: scores have shape \(2, 3\), the mask \(1, 3\); use one panel"):
        topk(s, m[:1], 1)
    with pytest.raises(DataError, match=r"^portfolio: the score of column 1 at row 0 is infinite; give a number"):
        topk(np.array([[1.0, np.inf]]), np.ones((1, 2), bool), 1)
    with pytest.raises(ConfigError, match=r"^portfolio: start is row 5; the mask has rows 0..1$"):
        buy_and_hold(m, start=5)
