"""Looks like l04: standardised with fixed numbers, from the first sixty rows, which give no signal themselves."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "the constants come from rows before the first signal"}
TRAIN = 60


def signal(frame):
    train = frame["close"].iloc[:TRAIN]
    scaled = (frame["close"] - train.mean()) / train.std()
    scaled.iloc[:TRAIN] = float("nan")
    return scaled
