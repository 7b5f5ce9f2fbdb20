"""Looks like l32: the clock is read before and after, for a line of the log only."""

import time

ITEM = {"leak": None, "kind": "file", "reach": None, "why": "the time is printed and enters no number"}


def signal(frame):
    begun = time.time()
    out = frame["close"].ewm(span=10).mean() / frame["close"]
    print(f"{len(frame)} rows in {time.time() - begun:.3f} s")
    return out
