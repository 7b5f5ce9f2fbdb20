"""Looks like l19: one test stretch is read three times, by one and the same study, whose report is printed again."""

import hashlib

ITEM = {"leak": None, "kind": "trials", "reach": None, "why": "like l19_five_studies_one_test, but nothing was changed"}


def digest(*parts):
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def trials(panel):
    mine, data = digest("hidden=32"), digest(*panel.symbols)
    other = digest("hidden=64"), digest("another market")
    return {"reads": [(mine, data), (mine, data), other, (mine, data)]}
