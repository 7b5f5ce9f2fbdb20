"""A module-level list keeps the mean volatility of all frames seen so far as the scale."""

ITEM = {
    "leak": "L32",
    "kind": "file",
    "reach": None,
    "why": "numbers depend on what was computed before in the same process",
}


SEEN = []


def signal(frame):
    returns = frame["close"].pct_change(fill_method=None)
    SEEN.append(float(returns.iloc[:60].std()))
    return returns / (sum(SEEN) / len(SEEN))
