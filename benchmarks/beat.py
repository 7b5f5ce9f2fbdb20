"""Daily IC and RankIC of a finished run beside Qlib's two Alpha158 recipes re-made here, by paired intervals.

    python benchmarks/beat.py --run RUN_FOLDER --recipe lstm gru lightgbm ridge

The run must be of the CSI 300 study (train 2010-2016, validation 2017-2018, test 2019-2024, 1-bar label). ``--recipe``:
the mean of the per-date ranks of these models, each the mean of its seeds. Re-made, on Alpha158 with the typical price
for vwap: "linear" = least squares on robust z-scores (clipped at 3, missing 0) of the ranked label; "lightgbm" = the
published settings of Qlib's benchmark (l1 205.7, l2 581.0, depth 8, 210 leaves, rate .2, stop after 50 rounds) on the
z-scored label, missing values left to the trees. The figures of the re-made recipes are printed, so that they can be
held against pyqlib's own.
"""

from __future__ import annotations

from harness import SHARED, parser  # isort: skip  (pins threads before torch)

import json
from pathlib import Path

import numpy as np
import polars as pl

from hitherto.evaluate.forecast import daily_ics
from hitherto.evaluate.inference import mean_interval, paired_difference
from hitherto.features import library, normalise
from hitherto.features.command import choose
from hitherto.labels import forward_return
from hitherto.models.base import Context, Forecast
from hitherto.models.linear import Ridge
from hitherto.models.targets import date_standardise
from hitherto.panel import read_bars
from hitherto.seeds import Stream
from hitherto.signal import ensemble
from hitherto.split import Dates
from hitherto.study.core import admitted
from hitherto.windows import Missing, Windows

SPANS = (("2010-01-04", "2016-12-30"), ("2017-01-03", "2018-12-28"), ("2019-01-02", "2024-12-31"))
QLIB = {
    "objective": "regression", "metric": "l2", "feature_fraction": 0.8879, "learning_rate": 0.2, "lambda_l1": 205.6999,
    "lambda_l2": 580.9768, "max_depth": 8, "num_leaves": 210, "verbosity": -1, "deterministic": True,
    "force_row_wise": True, "seed": 0, "num_threads": 2,
}  # fmt: skip


def world():
    """Panel, label, admitted samples and the one fold of the study."""
    panel = read_bars(
        SHARED / "ashare" / "csi300_ever_daily.parquet", membership=SHARED / "ashare" / "csi300_membership.parquet",
        zone="Asia/Shanghai", close="15:00:00", adjustment="factor",
    )  # fmt: skip
    label, ok = forward_return(panel, (1,), "next_close"), admitted(panel)
    rows = []
    for first, last in SPANS:
        a = np.searchsorted(panel.sessions, np.datetime64(first))
        rows.append((int(a), int(np.searchsorted(panel.sessions, np.datetime64(last), side="right")) - 1))
    return panel, label, ok, next(Dates(*rows).split(label, ok, 1))


def remade(panel, label, ok, fold) -> dict[str, np.ndarray]:
    """(T, N) forecasts of Qlib's two recipes."""
    import lightgbm as lgb

    features = library.build(panel, choose("alpha158", "typical", [], tuple(panel.fields)), threads=2)
    affine = normalise.fit_robust_zscore(features, fold.rows, ok, 3.0)
    out = {}
    windows = Windows(features, label, fold.train, 1, affine, Missing(1.0, 0.0))
    none = windows.with_(mask=np.zeros_like(ok))
    fitted = Ridge(alpha=1e-3, target="cs_rank").fit(windows, none, rng=Stream(0), context=Context())
    test = windows.with_(mask=fold.test, labelled=False)
    out["linear"] = laid_out(test.index, fitted.predict(test)[:, 0], ok.shape)

    def part(mask):
        index = np.argwhere(mask & np.isfinite(label.values[..., 0]))
        blocks = np.r_[0, np.flatnonzero(np.diff(index[:, 0])) + 1, len(index)]
        y = date_standardise(label.values[index[:, 0], index[:, 1]], blocks, "cs_zscore")
        return features.values[index[:, 0], index[:, 1]], y[:, 0]

    (x, y), (vx, vy) = part(fold.train), part(fold.valid)
    data = lgb.Dataset(x, label=y)
    stop = lgb.early_stopping(50, verbose=False)
    booster = lgb.train(QLIB, data, 1000, valid_sets=[lgb.Dataset(vx, label=vy, reference=data)], callbacks=[stop])
    index = np.argwhere(fold.test)
    predicted = booster.predict(features.values[index[:, 0], index[:, 1]], num_iteration=booster.best_iteration)
    out["lightgbm"] = laid_out(index, np.asarray(predicted), ok.shape)
    return out


def laid_out(index, values, shape):
    out = np.full(shape, np.nan)
    out[index[:, 0], index[:, 1]] = values
    return out


def ours(folder: Path, panel, names: list[str]) -> Forecast:
    """The recipe: the mean rank of these models of a run, each the mean of its seeds."""
    table = pl.read_parquet(folder / "forecasts.parquet").filter(pl.col("model").is_in(names))
    output = next(c for c in table.columns if c.startswith("return_"))
    mean = table.group_by("date", "symbol", "model").agg(pl.col(output).mean())
    t = np.searchsorted(panel.sessions, mean["date"].cast(pl.Date).to_numpy().astype("datetime64[D]"))
    place = {s: i for i, s in enumerate(panel.symbols)}
    n = np.array([place[s] for s in mean["symbol"]])
    members = []
    for name in names:
        mine = (mean["model"] == name).to_numpy()
        if not mine.any():
            raise SystemExit(f"the run holds no model '{name}'; it has {sorted(table['model'].unique())}")
        values = laid_out(np.c_[t[mine], n[mine]], mean[output].to_numpy()[mine], (len(panel.times), len(place)))
        fold = np.where(np.isfinite(values).any(axis=1), 0, -1).astype(np.int32)
        members.append(Forecast(name, values[..., None], fold, (output,)))
    return ensemble(members, "recipe") if len(members) > 1 else members[0]


def main() -> None:
    p = parser()
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--recipe", nargs="+", required=True)
    args = p.parse_args()
    panel, label, ok, fold = world()
    real = np.where(fold.test, label.values[..., 0], np.nan)
    mine = daily_ics(ours(args.run, panel, args.recipe).values[..., 0], real)
    line = {"recipe": args.recipe}
    for name, series in zip(("ic", "rank_ic"), mine, strict=True):
        line[name] = rounded(mean_interval(series[np.isfinite(series)], np.random.default_rng(0)))
    print(json.dumps(line))
    for name, forecast in remade(panel, label, ok, fold).items():
        line = {"remade": name}
        for what, own, other in zip(("ic", "rank_ic"), mine, daily_ics(forecast, real), strict=True):
            known = np.isfinite(own) & np.isfinite(other)
            line[what] = rounded(mean_interval(other[np.isfinite(other)], np.random.default_rng(0)))
            line[f"{what}_gain"] = rounded(paired_difference(own[known], other[known], np.random.default_rng(0)))
        print(json.dumps(line))


def rounded(interval) -> list[float]:
    return [float(f"{v:.4f}") for v in interval]


if __name__ == "__main__":
    main()
