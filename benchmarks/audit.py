"""What an audit costs: evaluations of the target, time beyond them, Alpha158 on 741 x 3,643, a study with an LSTM.

The default plan (level "quick") needs at most 8 evaluations of a target whose numbers look at one listing each. "beyond
the evaluations" is the wall time of the audit less its evaluations x the wall time of one on the whole panel, as a
share of the latter. Evaluations of panels that were cut short cost less than that, and another program on the same
cores disturbs both, so the processor time really spent outside the target is printed too, as a share of that inside
it: the stricter number. Alpha158 is computed by --threads threads (2); comparing takes one. The study is
examples/csi300.toml with its LSTM alone (hidden 16, lookback 20), fitted first by the reduced fit that an audit without
a run makes; P3 (fitting anew) is left out.
"""

from __future__ import annotations

from harness import SHARED, emit, parser, timed  # isort: skip  (pins threads first)

import dataclasses
import functools
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hitherto.audit import AuditPlan, FunctionTarget, audit, from_function, made_up_panel
from hitherto.audit.target import Outputs, Unit
from hitherto.features.alpha158 import alpha158
from hitherto.features.library import build
from hitherto.panel import Panel, read_bars
from hitherto.study import Study

if TYPE_CHECKING:
    import pandas as pd

LISTINGS, ROWS = 741, 3643
STUDY = Path(__file__).resolve().parents[1] / "examples" / "csi300.toml"
CUT_DOWN = [
    'models=[{kind="lstm", hidden=16, lookback=20, layers=1, epochs=1, target="cs_rank"}]', "audit.level=quick",
]  # fmt: skip


class Counter:
    """A target's function that counts its calls and the wall and processor seconds spent in them."""

    def __init__(self, f: Callable[[Panel], Outputs]) -> None:
        self.f, self.calls, self.wall, self.cpu = f, 0, 0.0, 0.0

    def __call__(self, panel: Panel) -> Outputs:
        """Evaluate, and count."""
        start, busy = time.perf_counter(), time.process_time()
        out = self.f(panel)
        self.wall += time.perf_counter() - start
        self.cpu += time.process_time() - busy
        self.calls += 1
        return out


def momenta(panel: Panel) -> dict[str, np.ndarray]:
    """Five cheap features of one listing each, (T, N) float64, as somebody would write them in numpy."""
    close, volume = panel.view("close"), np.log(panel.view("volume"))
    out = {"range": panel.view("high") / panel.view("low") - 1.0}
    for k in (1, 5, 20):
        out[f"momentum{k}"] = np.full(close.shape, np.nan)
        out[f"momentum{k}"][k:] = close[k:] / close[:-k] - 1.0
    out["volume"] = np.full(close.shape, np.nan)
    out["volume"][10:] = volume[10:] - volume[:-10]
    return out


def ratio(frame: pd.DataFrame) -> pd.Series:
    """Mean over deviation of 20 daily returns of one symbol, as somebody would write it in pandas."""
    r = frame.close.ffill().pct_change()
    return r.rolling(20).mean() / r.rolling(20).std()


def features(panel: Panel, threads: int = 1) -> dict[str, np.ndarray]:
    """Alpha158 with the typical price for vwap: 158 (T, N) views of one float32 array."""
    made = build(panel, alpha158("typical"), threads=threads)
    return {name: made.values[:, :, i] for i, name in enumerate(made.names)}


def market(rows: int, listings: int) -> Panel:
    """The A-shares where they are at hand (at most rows x listings), else a made-up panel of that size."""
    path = SHARED / "ashare" / "csi300_ever_daily.parquet"
    if not path.exists():
        print("no A-share bars here: a made-up panel", flush=True)
        return made_up_panel(rows, listings)
    panel = read_bars(path, zone="Asia/Shanghai", close="15:00:00", adjustment="factor")
    return panel.rows(rows).assets(np.arange(min(listings, panel.shape[1])))


def cost(
    name: str, f: Callable[[Panel], Outputs], panel: Panel, *, whole: bool, rounds: int, unit: Unit = "asset",
    shape_rtol: float = 0.0,
) -> None:  # fmt: skip
    """Audit ``f`` and print evaluations, wall, wall of one and what was spent beyond; whole: no cutting down."""
    seen = Counter(f)
    limit = (panel.shape[1], panel.shape[0]) if whole else None
    plan = AuditPlan(panel, (FunctionTarget(name, seen, unit, True, shape_rtol),), limit=limit)
    one = statistics.median(timed(lambda: f(panel)) for _ in range(rounds + 1))
    walls, outside, shares = [], [], []
    for _ in range(rounds):
        seen.calls, seen.wall, seen.cpu = 0, 0.0, 0.0
        start, busy = time.perf_counter(), time.process_time()
        report = audit(plan)
        walls.append(time.perf_counter() - start)
        outside.append(walls[-1] - seen.wall)
        shares.append(100 * ((time.process_time() - busy) / seen.cpu - 1))
        if report.exit_code:
            raise SystemExit(f"{name}: the audit says\n{report.to_text()}")
    wall, size = statistics.median(walls), f"{panel.shape[0]} x {panel.shape[1]}{'' if whole else ', default limit'}"
    emit(f"audit of {name}, {size}: evaluations", seen.calls, None, "n", rounds)
    emit(f"audit of {name}, {size}: wall", wall, None, "s", rounds)
    if whole:
        emit(f"one evaluation of {name}, {size}", one, None, "s", rounds + 1)
        emit(f"beyond the evaluations, {name}, {size}", 100 * (wall / (seen.calls * one) - 1), None, "%", rounds)
    emit(f"time outside the target, {name}, {size}", statistics.median(outside), None, "s", rounds)
    emit(f"processor time outside the target of that inside, {name}, {size}", statistics.median(shares), None, "%",
         rounds)  # fmt: skip


def study() -> None:
    """Audit the cut-down CSI 300 study without P3."""
    if not (SHARED / "ashare").exists():
        print("no A-share bars here: the study is not run", flush=True)
        return
    start = time.perf_counter()
    plan = Study.load(STUDY, CUT_DOWN).audit_targets()
    emit("study with one LSTM: read, features, reduced fit", time.perf_counter() - start, None, "s", 1)
    plan = dataclasses.replace(plan, refit=None, refit_planted=None)
    start = time.perf_counter()
    report = audit(plan)
    emit("its audit without refit", time.perf_counter() - start, None, "s", 1)
    emit("its audit without refit: evaluations", report.evaluations, None, "n", 1)
    by_probe: dict[str, float] = {}
    for r in report.results:
        by_probe[r.probe] = by_probe.get(r.probe, 0.0) + r.seconds
    print(json.dumps({"seconds by probe": {k: round(v, 2) for k, v in by_probe.items()}, "scope": report.scope,
                      "exit_code": report.exit_code}), flush=True)  # fmt: skip


def main() -> None:
    """Run the parts asked for."""
    options = parser()
    options.add_argument("--part", choices=("evaluations", "alpha158", "study"), default=None)
    options.add_argument("--threads", type=int, default=2, help="threads of Alpha158 (default %(default)s)")
    args = options.parse_args()
    print(json.dumps({"load before": [round(v, 2) for v in os.getloadavg()]}), flush=True)
    rounds = 1 if args.quick else 3
    if args.part in (None, "evaluations"):
        cost("five features in numpy", momenta, made_up_panel(), whole=False, rounds=rounds)
        cost("five features in numpy", momenta, made_up_panel(1000, 200), whole=True, rounds=rounds)
        pandas = from_function(ratio)
        for rows, listings in ((600, 50), (1000, 200)):
            cost("a ratio in pandas", pandas.run, made_up_panel(rows, listings), whole=True, rounds=rounds,
                 unit=pandas.unit, shape_rtol=pandas.shape_rtol)  # fmt: skip
    if args.part in (None, "alpha158"):
        small = market(ROWS, 100 if args.quick else LISTINGS)
        ours = functools.partial(features, threads=args.threads)
        audit(AuditPlan(small, (FunctionTarget("warm", ours, "asset"),)))  # compiles on first use
        cost("alpha158", ours, small, whole=False, rounds=rounds)
        cost("alpha158", ours, small, whole=True, rounds=1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        emit("alpha158: largest memory of the process", peak, None, "GiB", 1)
    if args.part in (None, "study"):
        study()
    print(json.dumps({"load after": [round(v, 2) for v in os.getloadavg()]}), flush=True)


if __name__ == "__main__":
    main()
