"""A little noise breaks ties between equal returns, from a generator without a seed."""

import numpy as np

ITEM = {"leak": "L32", "kind": "frame", "reach": None, "why": "two runs differ: nobody can repeat the result"}


def signal(frame):
    noise = np.random.default_rng().normal(0.0, 1e-4, len(frame))
    return frame["close"].pct_change(5, fill_method=None) + noise
