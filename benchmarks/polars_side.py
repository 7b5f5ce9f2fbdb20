"""Alpha158 as a polars user writes it: one lazy plan of ``rolling_*`` over symbols; 143 of the 158 columns.

IMAX, IMIN and IMXD are left out: polars has no rolling argmax. The line fits (BETA, RSQR, RESI) come from rolling
covariances with the row number, which is right as long as no bar is missing.
"""

from __future__ import annotations

import numpy as np
import polars as pl

WINDOWS = (5, 10, 20, 30, 60)
E = 1e-12


def frame(fields: dict[str, np.ndarray]) -> pl.DataFrame:
    """Long table (symbol, row, open ... volume), sorted by symbol and row, from (T, N) arrays."""
    T, N = fields["close"].shape
    columns = {"symbol": np.repeat(np.arange(N, dtype=np.int32), T), "row": np.tile(np.arange(T, dtype=np.float64), N)}
    return pl.DataFrame(columns | {k: np.ascontiguousarray(v.T).ravel() for k, v in fields.items()})


def bars() -> list[pl.Expr]:
    """The 13 columns of one bar."""
    o, h, low, c = (pl.col(x) for x in ("open", "high", "low", "close"))
    top, bottom, width = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close"), h - low + E
    out = {
        "KMID": (c - o) / o, "KLEN": (h - low) / o, "KMID2": (c - o) / width, "KUP": (h - top) / o,
        "KUP2": (h - top) / width, "KLOW": (bottom - low) / o, "KLOW2": (bottom - low) / width,
        "KSFT": (2 * c - h - low) / o, "KSFT2": (2 * c - h - low) / width,
        "OPEN0": o / c, "HIGH0": h / c, "LOW0": low / c, "VWAP0": (o + h + low + c) / 4 / c,
    }  # fmt: skip
    return [v.alias(k) for k, v in out.items()]


def windows(n: int) -> list[pl.Expr]:
    """The 26 families that polars has, for one window."""
    c, h, low, v, row = (pl.col(x) for x in ("close", "high", "low", "volume", "row"))
    dc, dv, ratio = pl.col("dc"), pl.col("dv"), pl.col("ratio")
    few = {"window_size": n, "min_samples": 1}
    top, bottom = h.rolling_max(**few), low.rolling_min(**few)
    slope = pl.rolling_cov(row, c, **few) / row.rolling_var(**few)
    up, down, size = (x.rolling_sum(**few) for x in (dc.clip(lower_bound=0), (-dc).clip(lower_bound=0), dc.abs()))
    more, less, moved = (x.rolling_sum(**few) for x in (dv.clip(lower_bound=0), (-dv).clip(lower_bound=0), dv.abs()))
    rises, falls = (x.cast(pl.Float64).rolling_mean(**few) for x in (dc > 0, dc < 0))
    loud = (ratio - 1).abs() * v
    out = {
        "ROC": c.shift(n) / c, "MA": c.rolling_mean(**few) / c, "STD": c.rolling_std(**few) / c, "BETA": slope / c,
        "RSQR": pl.rolling_corr(row, c, **few) ** 2,
        "RESI": (c - c.rolling_mean(**few) - slope * (row - row.rolling_mean(**few))) / c,
        "MAX": top / c, "MIN": bottom / c, "QTLU": c.rolling_quantile(0.8, "linear", **few) / c,
        "QTLD": c.rolling_quantile(0.2, "linear", **few) / c,
        "RANK": c.rolling_rank(n, min_samples=1) / n,
        "RSV": (c - bottom) / (top - bottom + E), "CORR": pl.rolling_corr(c, (v + 1).log(), **few),
        "CORD": pl.rolling_corr(ratio, (pl.col("vratio") + 1).log(), **few),
        "CNTP": rises, "CNTN": falls, "CNTD": rises - falls,
        "SUMP": up / (size + E), "SUMN": down / (size + E), "SUMD": (up - down) / (size + E),
        "VMA": v.rolling_mean(**few) / (v + E), "VSTD": v.rolling_std(**few) / (v + E),
        "WVMA": loud.rolling_std(**few) / (loud.rolling_mean(**few) + E),
        "VSUMP": more / (moved + E), "VSUMN": less / (moved + E), "VSUMD": (more - less) / (moved + E),
    }  # fmt: skip
    return [x.over("symbol").alias(f"{k}{n}") for k, x in out.items()]


def run(table: pl.DataFrame) -> pl.DataFrame:
    """Return the 143 columns as float32, one row per bar."""
    c, v = pl.col("close"), pl.col("volume")
    before, vbefore = c.shift(1).over("symbol"), v.shift(1).over("symbol")
    steps = [(c - before).alias("dc"), (v - vbefore).alias("dv"), (c / before).alias("ratio")]
    features = [*bars(), *(x for n in WINDOWS for x in windows(n))]
    lazy = table.lazy().with_columns(*steps, (v / vbefore).alias("vratio"))
    return lazy.select(x.cast(pl.Float32) for x in features).collect()
