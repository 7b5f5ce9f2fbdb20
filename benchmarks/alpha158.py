"""Alpha158 of ours beside pyqlib's own: the same values (witness), then the time of both and of polars (speed)."""

from __future__ import annotations

from harness import SHARED, alternate, emit, parser  # isort: skip  (pins threads first)

import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from hitherto.features.alpha158 import alpha158
from hitherto.features.expression import Evaluator, parse
from hitherto.features.library import build
from hitherto.panel import Panel

FIELDS = ("open", "high", "low", "close", "volume")
BLOCK = 60  # names compared at once
ABSOLUTE, RELATIVE, LEAST = 1e-4, 1e-3, 0.9999
FLAT = 2e-5  # pyqlib's Corr and Rsquare are NaN where an operand's rolling std is within this of 0
CHANGE, VOLUME_CHANGE = "$close/Ref($close,1)", "Log($volume/Ref($volume,1)+1)"
OPERANDS = {"CORR": ("$close", "Log($volume+1)"), "CORD": (CHANGE, VOLUME_CHANGE), "RSQR": ("$close",)}
HOLE, STILL = "window holds NaN", "no price change in the window"
NEAR_FLAT, RESIDUE = "std within 2e-5 of 0", "an operand does not move at all, pandas' std leaves a residue"


def ashare(names: int | None = None) -> dict[str, np.ndarray]:
    """Adjusted bars of the A-shares, (T, N) float32: price x factor, volume / factor, NaN on suspended days."""
    import polars as pl

    bars = pl.read_parquet(SHARED / "ashare" / "csi300_ever_daily.parquet").sort("symbol", "date")
    if names:
        few = bars["symbol"].unique().sort().gather_every(bars["symbol"].n_unique() // names).head(names)
        bars = bars.filter(pl.col("symbol").is_in(few.implode()))
    bars = bars.filter(pl.col("volume") > 0)  # a suspended day is a flat row without volume
    days = bars["date"].unique().sort()
    symbols = bars["symbol"].unique().sort()
    t, n = days.search_sorted(bars["date"]).to_numpy(), symbols.search_sorted(bars["symbol"]).to_numpy()
    factor = bars["factor"].to_numpy().astype(np.float64)
    out = {}
    for field in FIELDS:
        raw = bars[field].to_numpy().astype(np.float64)
        dense = np.full((len(days), len(symbols)), np.nan, np.float32)
        dense[t, n] = raw / factor if field == "volume" else raw * factor
        out[field] = dense
    return out


def random_market(seed: int, T: int = 600, N: int = 40) -> dict[str, np.ndarray]:
    """A random panel, (T, N) float32: halts, late listings, one early end, ties (a coarse tick), constant names."""
    rng = np.random.default_rng(seed)
    close = rng.uniform(3, 60, N) * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.006, (T, N)))
    spread = np.abs(rng.normal(0, 0.008, (2, T, N)))
    out = {
        "open": open_, "high": np.maximum(open_, close) * (1 + spread[0]),
        "low": np.minimum(open_, close) * (1 - spread[1]), "close": close,
    }  # fmt: skip
    out = {k: np.round(v, 2) for k, v in out.items()}
    for k, v in out.items():
        out[k][:, : N // 4] = np.maximum(np.round(v[:, : N // 4] / 0.5) * 0.5, 0.5)  # ties
    for v in out.values():
        v[:, N - 1] = 7.0  # constant all along
        v[100:200, N - 2] = v[100, N - 2]  # constant for a while
    volume = np.round(np.exp(rng.normal(13, 0.8, (T, N))))
    volume[:, N - 3] = 1e6
    out["volume"] = volume
    gone = rng.random((T, N)) < 0.02
    for n in range(0, N, 3):
        a = rng.integers(0, T - 80)
        gone[a : a + rng.integers(1, 75), n] = True
    for n in range(N // 2, N - 5, 2):
        gone[: rng.integers(1, T // 2), n] = True
    gone[T // 2 :, 1] = True
    return {k: np.where(gone, np.nan, v).astype(np.float32) for k, v in out.items()}


def panel_of(fields: dict[str, np.ndarray]) -> Panel:
    """The same float32 numbers as a Panel; a listing lives from its first bar to its last."""
    data = {k: v.astype(np.float64) for k, v in fields.items()}
    known = ~np.isnan(data["close"])
    listed = np.logical_or.accumulate(known, axis=0) & np.logical_or.accumulate(known[::-1], axis=0)[::-1]
    T, N = known.shape
    sessions = np.datetime64("2000-01-03") + np.arange(T)
    return Panel(
        times=sessions.astype("datetime64[ns]").astype(np.int64), sessions=sessions,
        symbols=tuple(f"S{n:03d}" for n in range(N)), fields=data, listed=listed, suspended=listed & ~known,
        missing=np.zeros_like(known), universe=listed.copy(),
    )  # fmt: skip


class Peer:
    """pyqlib in its own process: one request a line, one JSON answer a line."""

    def __init__(self, python: str, folder: Path, fields: dict[str, np.ndarray], keep: int | None = None) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        for name, values in fields.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        prices = [fields[k].astype(np.float64) for k in ("open", "high", "low", "close")]
        np.save(folder / "vwap.npy", (sum(prices) / 4).astype(np.float32), allow_pickle=False)
        command = [python, str(Path(__file__).with_name("qlib_side.py")), str(folder)]
        self.process = subprocess.Popen(
            [*command, *([str(keep)] if keep else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        answer = self._read()
        self.version, self.names, self.texts = answer["version"], answer["names"], answer["texts"]

    def _read(self) -> dict:
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit("alpha158: the peer's process died; see its message above")
            if line.startswith("{"):
                return json.loads(line)

    def ask(self, what: str) -> float:
        """Send ``values`` or ``time``; return the seconds it took."""
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._read()["seconds"]

    def values(self) -> np.ndarray:
        """(F, T, N) float32, memory-mapped."""
        self.ask("values")
        return np.load(self.folder / "qlib.npy", mmap_mode="r", allow_pickle=False)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Oracle:
    """Slow float64 values of the texts asked for, on one block of names."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, text: str) -> np.ndarray:
        if text not in self.known:
            expression = parse(text)
            with np.errstate(all="ignore"):
                self.known[text] = Evaluator(self.panel, [expression]).value(expression)
        return self.known[text]


def split(column: str) -> tuple[str, int]:
    """Return family and window: IMAX60 -> ("IMAX", 60)."""
    family = column.rstrip("0123456789")
    return family, int(column[len(family) :] or 0)


def first_hole(panel: Panel, n: int) -> np.ndarray:
    """Position (from 1) of the first suspended row among the last n rows since the listing, 0 where there is none.

    pyqlib's IdxMax and IdxMin give this instead of the extreme's: numpy's argmax takes NaN for the largest value.
    """
    gap = np.isnan(panel.view("close")) & panel.listed
    T = len(gap)
    row = np.arange(T)[:, None]
    following = np.minimum.accumulate(np.where(gap, row, T)[::-1], axis=0)[::-1]
    start = np.maximum(row - n + 1, panel.listed.argmax(axis=0))
    hole = np.take_along_axis(following, np.minimum(start, T - 1), axis=0)
    return np.where(hole <= row, hole - start + 1, 0)


def listed_cause(column: str, panel: Panel, peer: np.ndarray, oracle: Oracle) -> tuple[str, np.ndarray] | None:
    """Where pyqlib is known to be wrong (docs/alpha158.md): the cause, and the cells."""
    family, n = split(column)
    if family in ("IMAX", "IMIN", "IMXD"):
        hole = first_hole(panel, n)
        wrong = np.zeros(hole.shape) if family == "IMXD" else hole / n
        return HOLE, (hole > 0) & (np.abs(peer - wrong) < 1e-6)
    if family == "WVMA":
        return STILL, oracle(f"Mean(Abs({CHANGE}-1)*$volume, {n})") == 0
    return None


def still(column: str, oracle: Oracle, most: float) -> np.ndarray:
    """True where an operand of Corr or Rsquare has a std of at most ``most``, or fewer than two values."""
    family, n = split(column)
    flat = [~(oracle(f"Std({x}, {n})") > most) for x in OPERANDS.get(family, ())]
    return np.logical_or.reduce(flat) if flat else np.zeros(oracle.panel.shape, bool)


def compare(column: str, text: str, panel: Panel, ours: np.ndarray, peer: np.ndarray, oracle: Oracle) -> Counter:
    """Count the cells (T, N) of one column: agreeing, differing for a listed cause, and the rest."""
    gap, theirs = np.isnan(ours), np.isnan(peer)
    both = panel.listed & ~gap & ~theirs
    with np.errstate(invalid="ignore"):
        miss = both & ~(np.abs(ours.astype(np.float64) - peer) <= ABSOLUTE + RELATIVE * np.abs(peer))
    out = Counter(cells=int(both.sum()), missed=int(miss.sum()))
    if miss.any():
        truth = oracle(text)[miss]
        mine, other = np.abs(ours[miss] - truth), np.abs(peer[miss].astype(np.float64) - truth)
        out["farther"] = int((~(mine < other)).sum())
        cause = listed_cause(column, panel, peer, oracle)
        if cause:
            out[f"value: {cause[0]}"] = int((miss & cause[1]).sum())
            out["excused"] = int((both & cause[1]).sum())
    early = ~gap & ~np.logical_or.accumulate(panel.listed, axis=0)
    if early.any():
        out["value of ours before the listing: unexplained"] = int(early.sum())
    masks = panel.listed & (gap != theirs)
    if masks.any():
        flat = masks & ~gap & still(column, oracle, FLAT * 1.01)
        residue = masks & gap & still(column, oracle, 0.0)
        out[f"NaN of pyqlib only: {NEAR_FLAT}"] = int(flat.sum())
        out[f"NaN of ours only: {RESIDUE}"] = int(residue.sum())
        out["NaN of pyqlib only: unexplained"] = int((masks & ~gap & ~flat).sum())
        out["NaN of ours only: unexplained"] = int((masks & gap & ~residue).sum())
    return out


def witness(name: str, python: str, fields: dict[str, np.ndarray], folder: Path) -> list[dict]:
    """Compare every column on one market; print a JSON line each and return them."""
    peer = Peer(python, folder, fields)
    theirs = peer.values()
    peer.close()
    texts = {k.upper(): v for k, v in alpha158(vwap="typical").items()}
    if list(texts) != peer.names:
        odd = sorted(set(texts) ^ set(peer.names)) or "their order"
        raise SystemExit(f"alpha158: our columns and pyqlib's differ: {odd}")
    panel = panel_of(fields)
    counts = {column: Counter() for column in texts}
    for a in range(0, panel.shape[1], BLOCK):
        part = panel.assets(np.arange(a, min(a + BLOCK, panel.shape[1])))
        ours, oracle = build(part, texts).values, Oracle(part)
        for f, (column, text) in enumerate(texts.items()):
            counts[column] += compare(column, text, part, ours[:, :, f], theirs[f, :, a : a + BLOCK], oracle)
    lines = []
    for column, c in counts.items():
        causes = {k: v for k, v in c.items() if ":" in k and v}
        left = c["missed"] - sum(v for k, v in causes.items() if k.startswith("value:"))
        share = 1 - left / max(c["cells"] - c["excused"], 1)
        bad = [k for k in causes if "unexplained" in k]
        line = {"market": name, "column": column, "cells": c["cells"], "agree": 1 - c["missed"] / max(c["cells"], 1),
                "agree_but_for_causes": share, "missed": left, "farther_than_pyqlib": c["farther"], "causes": causes,
                "pass": share >= LEAST and c["farther"] == 0 and not bad}  # fmt: skip
        print(json.dumps(line), flush=True)
        lines.append(line)
    return lines


def table(lines: list[dict]) -> str:
    """One Markdown row per kind of market and family: cells that differ, why, and the worst column but for causes."""
    out = ["| market | family | cells | beyond tolerance | worst column | but for causes | farther | causes |"]
    out.append("|" + "---|" * 8)
    groups: dict[tuple[str, str], list[dict]] = {}
    for line in lines:
        kind = line["market"].split()[0]
        perfect = line["agree"] == 1.0 and not line["causes"]
        groups.setdefault((kind, "all others" if perfect else split(line["column"])[0]), []).append(line)
    for (market, family), group in sorted(groups.items(), key=lambda g: (g[0][0], g[0][1] == "all others", g[0][1])):
        columns = len({x["column"] for x in group})
        said = "; ".join(f"{k} {v:,}" for k, v in sum((Counter(x["causes"]) for x in group), Counter()).items())
        beyond = sum(round(x["cells"] * (1 - x["agree"])) for x in group)
        worst, share = min(x["agree"] for x in group), min(x["agree_but_for_causes"] for x in group)
        numbers = f"{sum(x['cells'] for x in group):,} | {beyond:,} | {100 * worst:.4f} % | {100 * share:.4f} %"
        name = f"{family} ({columns})" + ("" if all(x["pass"] for x in group) else " FAILS")
        out.append(f"| {market} | {name} | {numbers} | {sum(x['farther_than_pyqlib'] for x in group)} | {said} |")
    return "\n".join(out)


def speed(python: str, quick: bool, folder: Path) -> None:
    """Time 158 columns of random bars: ours on one and two threads, polars and pyqlib on one; scaled peers say so.

    Ours writes into an array that is kept between the calls, as the peers' smaller tables fit memory that they have
    had before: touching 1.8 GB of fresh memory for the first time can cost a virtual machine more than computing it.
    """
    import polars_side

    T, N, rounds = (700, 100, 3) if quick else (3500, 800, 3)
    some, few = (20, 20) if quick else (100, 50)
    rng = np.random.default_rng(0)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.01, (T, N)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.004, (T, N)))
    high, low = np.maximum(open_, close) * 1.004, np.minimum(open_, close) * 0.996
    volume = np.round(np.exp(rng.normal(13, 0.8, (T, N))))
    fields = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    fields = {k: v.astype(np.float32) for k, v in fields.items()}
    panel, texts = panel_of(fields), alpha158(vwap="typical")
    table = polars_side.frame({k: v[:, :some].astype(np.float64) for k, v in fields.items()})
    done = polars_side.run(table)
    _agree(done, build(panel.assets(np.arange(some)), texts).values, list(texts), T)
    peer = Peer(python, folder, fields, few)
    size, name = T * N * len(texts), f"alpha158: {N} x {T} x {len(texts)}"

    kept = np.zeros((T, N, len(texts)), np.float32)

    def ours(threads: int = 1):
        return lambda: build(panel, texts, threads=threads, out=kept)

    a, b = alternate(ours(), lambda: peer.ask("time"), rounds)
    emit(f"{name}, 1 thread, peer pyqlib {peer.version} on {few} stocks, scaled up", a, b * N / few, "s", rounds)
    emit(f"{name}, per value", a / size * 1e9, b * N / few / size * 1e9, "ns", rounds)
    fresh, b = alternate(lambda: build(panel, texts), lambda: peer.ask("time"), rounds)
    emit(f"{name}, into fresh memory, peer as above", fresh, b * N / few, "s", rounds)
    peer.close()
    a, b = alternate(ours(), lambda: polars_side.run(table), rounds)
    scale = N / some * len(texts) / done.width
    emit(f"{name}, 1 thread, peer polars ({done.width} columns of {some} stocks, scaled up)", a, b * scale, "s", rounds)
    one, two = alternate(ours(1), ours(2), rounds)
    emit(f"{name}, 2 threads, peer 1 thread", two, one, "s", rounds)


def _agree(theirs: object, ours: np.ndarray, names: list[str], T: int) -> None:
    """Refuse to time a polars plan that computes something else (its line fits and partial windows differ)."""
    for f, column in enumerate(names):
        if column.upper() in theirs.columns:
            got = theirs[column.upper()].to_numpy().reshape(-1, T).T[60:]
            miss = ~(np.abs(got - ours[60:, :, f]) <= 1e-3 + 1e-2 * np.abs(got))
            if miss.mean() > 1e-3:
                raise SystemExit(f"alpha158: polars' {column} is another thing in {miss.mean():.1%} of cells")


def main() -> None:
    options = parser()
    options.add_argument("--part", choices=("witness", "speed", "all"), default="all")
    chosen = options.parse_args()
    if chosen.peer_python is None:
        raise SystemExit("alpha158: --peer-python PATH is needed: an interpreter with pyqlib 0.9.7 installed")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if chosen.part != "speed":
            seeds = range(1) if chosen.quick else range(3)
            lines = []
            for s in seeds:
                lines += witness(f"random {s}", chosen.peer_python, random_market(s), folder / str(s))
            if SHARED.exists():
                lines += witness("ashare", chosen.peer_python, ashare(24 if chosen.quick else None), folder / "ashare")
            else:
                print("alpha158: no real data beside the repository; the witness saw random panels only", flush=True)
            print(table(lines))
            failing = [f"{x['market']} {x['column']}" for x in lines if not x["pass"]]
            print(f"witness: {len(lines) - len(failing)} of {len(lines)} columns pass; failing: {failing}", flush=True)
        if chosen.part != "witness":
            speed(chosen.peer_python, chosen.quick, folder / "speed")


if __name__ == "__main__":
    main()
