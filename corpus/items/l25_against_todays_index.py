"""Returns less the mean return of the index, whose members are those of today."""

ITEM = {"leak": "L25", "kind": "wide", "reach": None, "why": "the benchmark's mean is over names that joined later"}
VINTAGES = True


def signal(frame):
    returns = (frame["close"] * frame["factor"]).pct_change(fill_method=None)
    return returns.sub(returns.where(frame["member"] > 0).mean(axis=1), axis=0)
