"""A study is changed after each look at the test stretch: five versions of it have read the same data."""

import hashlib

ITEM = {"leak": "L19", "kind": "trials", "reach": None, "why": "five distinct studies read one test stretch"}


def digest(*parts):
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def trials(panel):
    data = digest(*panel.symbols, str(panel.sessions[-1]))
    settings = ["hidden=16", "hidden=32", "hidden=32 dropout=0.1", "hidden=64 dropout=0.1", "hidden=64 lag=5"]
    return {"reads": [(digest("study", text), data) for text in settings]}
