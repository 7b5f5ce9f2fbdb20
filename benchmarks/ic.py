"""Daily IC and RankIC of a wide market against pandas (group by date, as is common) and polars; bootstrap intervals.

3,500 days x 800 names, one thread, float64. The pandas peer runs on a tenth of the days and is scaled up.
"""

from __future__ import annotations

from harness import alone, alternate, emit, parse_args  # isort: skip  (pins threads first)

import numpy as np
import pandas as pd
import polars as pl

from hitherto.evaluate.forecast import daily_ics
from hitherto.evaluate.inference import mean_interval


def main() -> None:
    quick = parse_args().quick
    T, N, n = (700, 800, 3) if quick else (3500, 800, 7)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, N))
    y = 0.03 * x + 0.02 * rng.standard_normal((T, N))
    part = T // 10
    frame = pd.DataFrame({"t": np.repeat(np.arange(part), N), "x": x[:part].ravel(), "y": y[:part].ravel()})
    table = pl.DataFrame({"t": np.repeat(np.arange(T), N), "x": x.ravel(), "y": y.ravel()})

    def by_pandas():
        days = frame.groupby("t")[["x", "y"]]
        ic = days.apply(lambda d: d.x.corr(d.y))
        return ic.to_numpy(), days.apply(lambda d: d.x.corr(d.y, method="spearman")).to_numpy()

    def by_polars():
        ic, rank = pl.corr("x", "y"), pl.corr("x", "y", method="spearman")
        return table.group_by("t", maintain_order=True).agg(ic=ic, rank=rank)

    ours, theirs = daily_ics(x, y), by_polars()
    for a, b in ((ours[0], theirs["ic"]), (ours[1], theirs["rank"])):
        if np.abs(a - b.to_numpy()).max() > 1e-9:
            raise SystemExit("ic: ours and polars disagree")
    a, b = alternate(lambda: daily_ics(x, y), by_pandas, n)
    emit(f"ic: IC and RankIC {N} x {T} against pandas", a, b * T / part, "s", n)
    a, b = alternate(lambda: daily_ics(x, y), by_polars, n)
    emit(f"ic: IC and RankIC {N} x {T} against polars", a, b, "s", n)
    tied = np.round(x, 1)  # some 60 levels, as a tree model gives
    table = table.with_columns(x=tied.ravel())
    a, b = alternate(lambda: daily_ics(tied, y), by_polars, n)
    emit("ic: the same with many equal forecasts, against polars", a, b, "s", n)
    far = x.copy()
    far[:, 0] = 1e9  # all others share one code of the short sort: the full sort takes over
    table = table.with_columns(x=far.ravel())
    a, b = alternate(lambda: daily_ics(far, y), by_polars, n)
    emit("ic: the same with one far forecast a date, against polars", a, b, "s", n)
    r = 0.01 * rng.standard_normal(3643)
    mean = alone(lambda: mean_interval(r, np.random.default_rng(0)), n)
    emit("ic: interval of a mean, 2,000 draws of 3,643 days", mean, None, "s", n)


if __name__ == "__main__":
    main()
