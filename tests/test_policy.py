"""The equal-weight policy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hitherto.policy.base import Policy, PolicyState
from hitherto.policy.equal import EqualWeight


def state(mask, x=0.0):
    B, N = mask.shape
    return PolicyState(3, np.full((B, N, 2), x, np.float32), np.zeros((B, N)), np.ones(B), mask)


@given(arrays(bool, (3, 6)), st.floats(-5, 5, width=32))
def test_equal_weights_inside_the_mask_and_cash_without_one(mask, x):
    policy = EqualWeight()
    assert isinstance(policy, Policy)
    w = policy.act(state(mask, x))
    assert w.dtype == np.float64
    for row, m in zip(w, mask, strict=True):
        assert (row[~m] == 0).all()
        assert (row[m] == 1 / max(m.sum(), 1)).all()
        assert abs(row.sum() - m.any()) < 1e-12


def test_batch_rows_do_not_talk():
    mask = np.array([[True, True, False], [True, True, True]])
    both = EqualWeight().act(state(mask))
    for b in range(2):
        assert np.array_equal(both[b : b + 1], EqualWeight().act(state(mask[b : b + 1])))
