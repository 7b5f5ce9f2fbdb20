"""The table of labels is merged to the table of features by date and symbol, and one label column stays inside."""

ITEM = {"leak": "L01", "kind": "long", "reach": 1, "why": "the next open-to-close move is used as a feature"}


def labels(frame):
    move = frame["close"] / frame["open"] - 1.0
    return move.groupby(level="symbol").shift(-1).rename("move").reset_index()


def signal(frame):
    features = frame["volume"].groupby(level="symbol").pct_change().rename("volume").reset_index()
    table = features.merge(labels(frame), on=["date", "symbol"], how="left").set_index(["date", "symbol"])
    return table["move"] + 0.0 * table["volume"].fillna(0.0)
