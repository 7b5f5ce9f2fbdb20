"""Labels against a cell-by-cell twin; their spans; the future they may read and say so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError, DataError, FutureError
from hitherto.labels import forward_return


def slow(panel, h, entry, t, n):
    """(value, start, end) of one cell, by the sentence: enter at t+1, leave at the first price h bars on or later."""
    price = panel.view("open" if entry == "next_open" else "close")
    close = panel.view("close")
    T = len(close)
    exit_row = t + (h if entry == "next_open" else h + 1)
    if exit_row >= T or not np.isfinite(price[t + 1, n]):
        return np.nan, -1, -1
    while exit_row < T and not np.isfinite(close[exit_row, n]):
        exit_row += 1
    if exit_row >= T:
        return np.nan, -1, -1
    return close[exit_row, n] / price[t + 1, n] - 1, t + 1, exit_row


@given(st.integers(0, 10_000), st.sampled_from(["next_open", "next_close"]), st.integers(1, 6))
def test_labels_equal_the_slow_twin(seed, entry, h):
    panel = make_panel(T=18, N=3, seed=seed, halts=0.2, factor=True)
    label = forward_return(panel, (h,), entry)
    for t in range(18):
        for n in range(3):
            value, start, end = slow(panel, h, entry, t, n)
            assert np.array_equal(label.values[t, n, 0], value, equal_nan=True)
            assert (label.start[t, n, 0], label.end[t, n, 0]) == (start, end)


def test_the_close_label_of_one_bar_is_qlibs():
    panel = make_panel(T=30, N=4)
    c = panel.view("close")
    wanted = np.full((30, 4), np.nan)
    wanted[:-2] = c[2:] / c[1:-1] - 1
    assert np.allclose(forward_return(panel, (1,)).values[..., 0], wanted, rtol=0, atol=0, equal_nan=True)


@given(st.integers(0, 1000))
def test_nothing_after_its_end_moves_a_label(seed):
    panel = make_panel(T=25, N=3, seed=seed, halts=0.1)
    label = forward_return(panel, (1, 4))
    cut = 15
    fields = {k: v.copy() for k, v in panel.fields.items()}
    for v in fields.values():
        v[cut + 1 :] *= 1.5
    again = forward_return(panel.replace(fields=fields), (1, 4))
    known = (label.end >= 0) & (label.end <= cut)
    assert np.array_equal(label.values[known], again.values[known])
    assert (label.known_until() == label.end.max(axis=2)).all()


def test_messages():
    panel = make_panel(T=10, N=2, fields=("close",))
    with pytest.raises(FutureError, match=r"horizons must be whole numbers of bars >= 1, got \[0\]"):
        forward_return(panel, (0,))
    with pytest.raises(ConfigError, match="entry must be 'next_open' or 'next_close'"):
        forward_return(panel, (1,), "same_close")
    with pytest.raises(DataError, match="a label entered at the next open needs open; these bars hold only close"):
        forward_return(panel, (1,), "next_open")
