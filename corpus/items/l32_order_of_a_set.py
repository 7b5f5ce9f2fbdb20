"""Inputs are added in the order of a set of words, with falling weights."""

ITEM = {
    "leak": "L32",
    "kind": "file",
    "reach": None,
    "why": "the order of a set of strings differs from process to process",
}


def signal(frame):
    names = {"open", "high", "low", "close"}
    return sum(frame[name].pct_change(fill_method=None) * 0.5**i for i, name in enumerate(names))
