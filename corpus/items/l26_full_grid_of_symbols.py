"""The long table is unstacked to a full grid before ranking, and absent names take part with the worst rank."""

ITEM = {"leak": "L26", "kind": "long", "reach": None, "why": "every symbol of the file is ranked on every date"}


def signal(frame):
    grid = frame["volume"].unstack("symbol").fillna(-1.0)
    ranks = grid.rank(axis=1, ascending=False)
    return ranks.stack().reindex(frame.index)
