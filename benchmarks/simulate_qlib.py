"""The peer half of ``simulate.py``: Qlib's own backtest, in the environment that has pyqlib.

Usage: ``python simulate_qlib.py FOLDER``. FOLDER holds close (adjusted, NaN = suspended), factor, scores (NaN = not in
the prediction), untied or weights as (T, N) .npy files, days.npy (T,) and names.json. It writes Qlib's folder format
there; then every line on stdin is a request, a JSON object with ``signal``, ``first``, ``last`` (bars that trade),
``capital`` and options. ``weights`` runs a WeightStrategyBase that aims at the weights of the bar before, the other two
TopkDropoutStrategy. Either writes FOLDER/equity.npy and holdings.npy, the account and the adjusted shares at each
close, and answers one JSON line: seconds of the whole backtest and of its loop over days, final wealth, peak memory.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import qlib
from qlib.backtest import backtest_loop, get_strategy_executor
from qlib.backtest.executor import SimulatorExecutor
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.contrib.strategy.signal_strategy import WeightStrategyBase


class Target(WeightStrategyBase):
    """Aims at the weights of the day before, which come as the signal."""

    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        return score.to_dict()


def peak_mb() -> float:
    """Peak resident memory since exec (``ru_maxrss`` would count the parent's)."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


def dump(folder: Path) -> tuple[pd.DatetimeIndex, list[str]]:
    """Write Qlib's folder format with close, factor, change and volume; return calendar and names."""
    root = folder / "qlib"
    close, factor = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("close", "factor"))
    names = json.loads((folder / "names.json").read_text())
    days = pd.DatetimeIndex(np.load(folder / "days.npy", allow_pickle=False))
    days = days.append(pd.bdate_range(days[-1], periods=6)[1:])  # Qlib asks for the day after the last one
    text = [f"{d:%Y-%m-%d}" for d in days]
    (root / "calendars").mkdir(parents=True)
    (root / "instruments").mkdir()
    (root / "calendars" / "day.txt").write_text("\n".join(text) + "\n")
    change = np.full_like(close, np.nan)
    change[1:] = close[1:] / pd.DataFrame(close).ffill().to_numpy()[:-1] - 1.0
    lines = []
    for n, name in enumerate(names):
        rows = np.flatnonzero(~np.isnan(close[:, n]))
        if not len(rows):
            continue
        a, b = rows[0], rows[-1]
        lines.append(f"{name}\t{text[a]}\t{text[b]}\n")
        here = root / "features" / name.lower()
        here.mkdir(parents=True)
        plenty = np.where(np.isnan(close[:, n]), np.nan, 1e9)
        fields = {"close": close[:, n], "factor": factor[:, n], "change": change[:, n], "volume": plenty}
        for field, values in fields.items():
            np.concatenate([[a], values[a : b + 1]]).astype("<f4").tofile(here / f"{field}.day.bin")
    (root / "instruments" / "all.txt").write_text("".join(lines))
    return days, names


def series(values: np.ndarray, days: pd.DatetimeIndex, names: list[str]) -> pd.Series:
    """A signal as Qlib wants it: by (datetime, instrument), no row where there is no value."""
    rows = pd.MultiIndex.from_product([days[: len(values)], names], names=["datetime", "instrument"])
    return pd.Series(values.ravel(), index=rows).dropna()


def run(signals: dict[str, pd.Series], days: pd.DatetimeIndex, ask: dict) -> tuple[pd.DataFrame, dict, float, float]:
    """One backtest; returns the report, the positions, seconds in all and in the loop over days."""
    first, last = days[ask["first"]], days[ask["last"] - 1]
    start = time.perf_counter()
    if ask["signal"] == "weights":
        strategy = Target(signal=signals["weights"], risk_degree=1.0)
    else:
        options = {"risk_degree": 0.95, "hold_thresh": 1, "forbid_all_trade_at_limit": True}
        options = {name: ask.get(name, value) for name, value in options.items()}
        strategy = TopkDropoutStrategy(
            signal=signals[ask["signal"]], topk=ask["topk"], n_drop=ask["n_drop"], only_tradable=False, **options
        )
    exchange = {
        "freq": "day", "deal_price": "close", "open_cost": ask["open_cost"], "close_cost": ask["close_cost"],
        "min_cost": ask["min_cost"], "limit_threshold": ask["limit_threshold"], "trade_unit": ask["trade_unit"],
        "codes": "all", "start_time": days[ask["first"] - 1],  # or the first decision would find no prices
    }  # fmt: skip
    nothing = pd.Series(0.0, index=days)  # a benchmark of None would ask for SH000300
    executor = SimulatorExecutor(time_per_step="day", generate_portfolio_metrics=True)
    strategy, executor = get_strategy_executor(
        first, last, strategy, executor, benchmark=nothing, account=ask["capital"], exchange_kwargs=exchange
    )
    middle = time.perf_counter()
    portfolio, _ = backtest_loop(first, last, strategy, executor)
    report, positions = portfolio["1day"]
    end = time.perf_counter()
    return report, positions, end - start, end - middle


def holdings(report: pd.DataFrame, positions: dict, names: list[str]) -> np.ndarray:
    """(K, N) adjusted shares at each close."""
    column = {name: n for n, name in enumerate(names)}
    out = np.zeros((len(report), len(names)))
    for k, day in enumerate(report.index):
        for name, what in positions[day].position.items():
            if isinstance(what, dict):
                out[k, column[name]] = what["amount"]
    return out


def main() -> None:
    folder = Path(sys.argv[1])
    days, names = dump(folder)
    qlib.init(
        provider_uri=str(folder / "qlib"), expression_cache=None, dataset_cache=None, kernels=1,
        logging_level=logging.ERROR,
    )  # fmt: skip
    there = [name for name in ("scores", "untied", "weights") if (folder / f"{name}.npy").exists()]
    signals = {name: series(np.load(folder / f"{name}.npy", allow_pickle=False), days, names) for name in there}
    if "weights" in signals:
        signals["weights"] = signals["weights"][signals["weights"] > 0]
    print(json.dumps({"version": qlib.__version__}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            report, positions, seconds, loop = run(signals, days, ask)
        np.save(folder / "equity.npy", report["account"].to_numpy(np.float64))
        np.save(folder / "holdings.npy", holdings(report, positions, names))
        out = {"seconds": seconds, "loop": loop, "wealth": float(report["account"].iloc[-1]), "peak_mb": peak_mb()}
        print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()
