"""Small made-up markets for tests."""

import numpy as np

from hitherto.panel import Panel


def make_panel(T=60, N=5, seed=0, halts=0.0, fields=("open", "high", "low", "close", "volume"), factor=False) -> Panel:
    """A small random-walk panel with optional halts; used by tests only."""
    rng = np.random.default_rng(seed)
    close = 10 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.005, (T, N)))
    spread = np.abs(rng.normal(0, 0.01, (T, N)))
    data = {
        "open": open_,
        "high": np.maximum(open_, close) * (1 + spread),
        "low": np.minimum(open_, close) * (1 - spread),
        "close": close,
        "volume": np.round(np.exp(rng.normal(12, 1, (T, N)))),
    }
    data = {k: data[k] for k in fields}
    suspended = rng.random((T, N)) < halts
    for values in data.values():
        values[suspended] = np.nan
    if factor:
        steps = np.where(rng.random((T, N)) < 0.01, 1.1, 1.0)
        data["factor"] = np.cumprod(steps, axis=0)
    sessions = np.datetime64("2015-01-05") + np.arange(T)
    times = sessions.astype("datetime64[ns]").astype(np.int64) + 15 * 3_600_000_000_000
    on = np.ones((T, N), bool)
    return Panel(
        times=times, sessions=sessions, symbols=tuple(f"S{i:03d}" for i in range(N)), fields=data, listed=on,
        suspended=suspended, missing=~on, universe=on.copy(), adjustment="factor" if factor else "raw",
    )  # fmt: skip
