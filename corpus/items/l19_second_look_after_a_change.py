"""The test was read, one threshold was moved because of it, and the test was read again."""

import hashlib

ITEM = {"leak": "L19", "kind": "trials", "reach": None, "why": "two distinct studies read the same test stretch"}


def digest(*parts):
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def trials(panel):
    first, second = (digest(str(panel.sessions[half])) for half in (len(panel.sessions) // 2, -1))
    before, after = digest("threshold=0.5"), digest("threshold=0.7")
    return {"reads": [(before, first), (before, second), (after, second)]}
