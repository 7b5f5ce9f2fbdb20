"""Looks like l02: a smoothed price path, by a local-level Kalman filter, which is not the smoother."""

import numpy as np

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "the filter's state at t has seen observations up to t"}
DRIFT, NOISE = 1e-4, 4e-4


def signal(frame):
    values = np.log(frame["close"].to_numpy())
    level, spread, out = np.nan, 1.0, np.full(len(values), np.nan)
    for t, seen in enumerate(values):
        spread += DRIFT
        if np.isfinite(seen):
            gain = spread / (spread + NOISE)
            level = seen if np.isnan(level) else level + gain * (seen - level)
            spread *= 1.0 - gain
        out[t] = level
    return out
