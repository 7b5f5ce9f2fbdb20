"""Older snapshots of the made-up panel: what was known of the same history when it was younger."""

from __future__ import annotations

import numpy as np

from hitherto.panel import Panel
from hitherto.seeds import generator

EVERY = 40  # rows between two snapshots
SETTLED = 60  # rows after which a first print of the earnings is restated


def vintages(panel: Panel, seed: int = 0) -> dict[np.datetime64, Panel]:
    """Return date of the snapshot -> the panel as it was known then; the last one is the latest.

    Further fields, (T, N) float64: "adjusted" (close adjusted to the factor of the snapshot's last row), "earnings" (a
    quarterly number; after SETTLED rows a third of them is restated), "first_earnings" (its first print), "member"
    (whether the name is in the index at the snapshot's end, over its whole past), "member_then" (as of the row). The
    universe mask is "member".
    """
    rng = generator(seed, "corpus", "vintages")
    T, N = panel.shape
    quarter = np.arange(T) // 60
    first = np.exp(rng.standard_normal((quarter[-1] + 1, N)))[quarter]
    changed = (rng.random((quarter[-1] + 1, N)) < 1 / 3)[quarter]
    restated = first * np.where(changed, 1.0 + 0.3 * rng.standard_normal((quarter[-1] + 1, N))[quarter], 1.0)
    member = (rng.random((quarter[-1] + 1, N)) < 0.7)[quarter]
    out = {}
    for stop in [*range(2 * EVERY, T, EVERY), T]:
        part = panel.rows(stop)
        old = (np.arange(stop) < stop - SETTLED)[:, None]
        factor = panel.fields["factor"][:stop]
        fields = {
            **part.fields,
            "adjusted": part.fields["close"] * factor / factor[-1],
            "earnings": np.where(old, restated[:stop], first[:stop]),
            "first_earnings": first[:stop].copy(),
            "member": np.repeat(member[stop - 1 : stop].astype(float), stop, axis=0),
            "member_then": member[:stop].astype(float),
        }
        universe = part.listed & (fields["member"] > 0)
        out[panel.sessions[stop - 1]] = part.replace(fields=fields, universe=universe)
    return out
