"""The exchange beside vectorbt and Qlib: seconds, memory and final wealth, and Qlib mode beside Qlib bar by bar.

    python benchmarks/simulate.py --peer-python QLIB --vectorbt-python VECTORBT [--part rules simple qlib hindsight]

rules: top 50 of 741 A-shares, 2010-2024, rebalanced daily under the dated rules, a panel made ready once. simple: the
simplest common strategy, the same 50 names at 1.9 % each (5 % stays in cash, so that no engine is ever short of it),
daily, 10 bps a side, no rules, closes carried over suspensions; each engine in its own process, timed by itself. qlib:
``qlib_topk_dropout`` against Qlib on a made panel of 300 x 500 without halts and limits, on small random markets with
every option, and on the real panel, with the first bar on which they part and why. hindsight: the exact best path of
one holding. The real bars are looked for beside the repository; without them a made panel of their size takes their
place.
"""

from __future__ import annotations

from harness import SHARED, alone, emit, parser  # isort: skip  (pins threads first)

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hitherto.exchange.account import LIMIT_DOWN, LIMIT_UP, REASONS, Book
from hitherto.exchange.qlib_mode import qlib_topk_dropout
from hitherto.exchange.simulate import Costs, Venue
from hitherto.hindsight import best_path
from hitherto.panel import Panel, read_bars
from hitherto.portfolio.base import Weights
from hitherto.portfolio.construct import topk

PARTS = ("rules", "simple", "qlib", "hindsight")
HERE = Path(__file__)
K, CAPITAL, RATE, INVESTED = 50, 1e8, 0.001, 0.95
QLIB = {
    "topk": 50, "n_drop": 5, "capital": CAPITAL, "open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5.0,
    "limit_threshold": 0.095,
}  # fmt: skip


def made(T: int, N: int, daily: float = 0.02, dividends: float = 0.0005) -> Panel:
    """A random walk without halts; the factor rises by 2 % where a dividend is paid."""
    rng = np.random.default_rng(0)
    factor = np.cumprod(np.where(rng.random((T, N)) < dividends, 1.02, 1.0), axis=0).astype(np.float32)
    walk = np.cumsum(np.clip(rng.normal(0, daily, (T, N)), -0.09, 0.09), axis=0)
    close = (10 * np.exp(walk)).astype(np.float32).astype(np.float64)
    fields = {"close": close, "factor": factor.astype(np.float64)}
    fields |= {"open": close.copy(), "high": close.copy(), "low": close.copy(), "volume": np.full((T, N), 1e7)}
    days = np.busday_offset("2010-01-04", np.arange(T), roll="forward").astype("datetime64[D]")
    times = days.astype("datetime64[ns]").astype(np.int64) + 7 * 3_600_000_000_000
    on, off = np.ones((T, N), bool), np.zeros((T, N), bool)
    return Panel(
        times=times, sessions=days, symbols=tuple(f"SH{600000 + n}" for n in range(N)), fields=fields, listed=on,
        suspended=off, missing=off.copy(), universe=on.copy(), zone="Asia/Shanghai", adjustment="factor",
    )  # fmt: skip


def real() -> tuple[Panel, str]:
    """The 741 A-shares, or a made panel of their size."""
    if not SHARED.exists():
        return made(3643, 741), "made"
    panel = read_bars(
        SHARED / "ashare" / "csi300_ever_daily.parquet", membership=SHARED / "ashare" / "csi300_membership.parquet",
        zone="Asia/Shanghai", close="15:00:00", adjustment="factor",
    )  # fmt: skip
    return panel, "A-shares"


def momentum(panel: Panel, bars: int = 20) -> np.ndarray:
    """The return of the last 20 bars of the members, NaN where either end is unknown: a score, not advice."""
    price = panel.view("close")
    out = np.full(panel.shape, np.nan)
    out[bars:] = price[bars:] / price[:-bars] - 1.0
    return np.where(panel.universe, out, np.nan)


def carried(price: np.ndarray) -> np.ndarray:
    row = np.maximum.accumulate(np.where(np.isfinite(price), np.arange(len(price))[:, None], 0), axis=0)
    return np.take_along_axis(price, row, axis=0)


def bare(close: np.ndarray, days: np.ndarray, names: tuple[str, ...]) -> Panel:
    """A panel of closes only, tradable wherever there is one."""
    on = np.isfinite(close)
    times = days.astype("datetime64[ns]").astype(np.int64)
    return Panel(
        times=times, sessions=days, symbols=names, fields={"close": close}, listed=on, suspended=np.zeros_like(on),
        missing=np.zeros_like(on), universe=on.copy(),
    )  # fmt: skip


class Side:
    """An engine in its own process: one JSON request a line, one JSON answer a line."""

    def __init__(self, python: str, script: Path, *arguments: str) -> None:
        command = [python, str(script), *arguments]
        self.name = script.stem
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._read().get("version", "")

    def _read(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"simulate: the process of {self.name} died; see its message above")

    def ask(self, **request: object) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def peak_mb() -> float:
    """Peak resident memory since exec (``ru_maxrss`` would count the parent's)."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


def serve(folder: Path) -> None:
    """Our own half of ``simple``: the request and answer of the other two."""
    arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("close", "weights", "days")}
    panel = bare(arrays["close"], arrays["days"], tuple(json.loads((folder / "names.json").read_text())))
    weights = Weights("top-50", arrays["weights"], np.isfinite(arrays["close"]).any(axis=1))
    print(json.dumps({"version": "ours"}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        start = time.perf_counter()
        venue, rows = Venue(panel, costs=Costs(fee_bps=ask["rate"] * 1e4)), (ask["first"] - 1, ask["last"])
        ready = time.perf_counter()
        book = venue.book(weights, capital=ask["capital"], start=rows[0], stop=rows[1])
        end = time.perf_counter()
        curve = venue.equity(weights, capital=ask["capital"], start=rows[0], stop=rows[1])
        lean = time.perf_counter() - end + ready - start
        assert np.array_equal(curve, book.equity)
        np.save(folder / "ours.npy", book.equity)
        out = {"seconds": end - start, "lean": lean, "wealth": float(book.equity[-1]), "peak_mb": peak_mb()}
        print(json.dumps({**out, "orders": int((book.fills.shares != 0).sum())}), flush=True)
        del book, curve  # the next request should not stand beside this one's book in memory


def write(folder: Path, panel: Panel, close: np.ndarray, **arrays: np.ndarray) -> None:
    """Lay a panel out for the other processes."""
    for name, values in {"close": close, "days": panel.sessions, **arrays}.items():
        np.save(folder / f"{name}.npy", values, allow_pickle=False)
    (folder / "names.json").write_text(json.dumps(panel.symbols))


def rules(panel: Panel, what: str, n: int) -> None:
    """Top 50 daily under the dated rules."""
    from hitherto.exchange.rules import lay

    weights = topk(momentum(panel), panel.universe, K)
    start = time.perf_counter()
    terms = lay("cn", panel, assume_st="never")
    laid = time.perf_counter() - start
    start = time.perf_counter()
    venue = Venue(panel, costs=Costs(fee_bps=3, slippage_bps=5), rules=terms)
    ready = time.perf_counter() - start
    title = f"top 50 daily under the rules, {what} {panel.shape[0]} x {panel.shape[1]}"
    emit(f"{title}, book", alone(lambda: venue.book(weights, capital=CAPITAL), n), None, "s", n)
    emit(f"{title}, equity only", alone(lambda: venue.equity(weights, capital=CAPITAL), n), None, "s", n)
    emit("the rules laid on the panel, once", laid, None, "s", 1)
    emit("the venue made ready, once", ready, None, "s", 1)
    book = venue.book(weights, capital=CAPITAL)
    refused = np.bincount(book.fills.reason, minlength=len(REASONS))
    print(json.dumps({"orders": len(book.fills.t), **dict(zip(REASONS, refused.tolist(), strict=True))}), flush=True)


def simple(panel: Panel, what: str, args, n: int) -> None:
    """The simplest common strategy in the three engines."""
    close = carried(panel.view("close")).astype(np.float32).astype(np.float64)
    weights = topk(momentum(panel), panel.universe, K).values * INVESTED
    first, last = int(np.argmax(weights.any(axis=1))) + 1, len(close)
    short = min(last, first + args.days) if args.days else last
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, panel, close, factor=np.ones(close.shape), weights=weights)
        sides = {"ours": Side(sys.executable, HERE, "--serve", name)}
        if args.vectorbt_python:
            sides["vectorbt"] = Side(args.vectorbt_python, HERE.with_name("simulate_vectorbt.py"), name)
        if args.peer_python:
            sides["qlib"] = Side(args.peer_python, HERE.with_name("simulate_qlib.py"), name)
        try:
            _against_vectorbt(sides, f"top 50 daily, no rules, {what}", first, last, n)
            if "qlib" in sides:
                _against_qlib(sides, f"top 50 daily, no rules, {what}", first, short, args.repeats)
        finally:
            for side in sides.values():
                side.close()


def _against_vectorbt(sides: dict[str, Side], title: str, first: int, last: int, n: int) -> None:
    ask = {"first": first, "last": last, "capital": CAPITAL, "rate": RATE}
    engines = ("numba", "rust") if "vectorbt" in sides else ()
    ours: list[dict] = []
    theirs: dict[str, list[dict]] = {e: [] for e in engines}
    for k in range(n + 1):  # the first round warms up
        for e in engines:
            theirs[e].append(sides["vectorbt"].ask(engine=e, **ask))
        ours.append(sides["ours"].ask(**ask))
        if k == 0:
            ours.clear()
            [answers.clear() for answers in theirs.values()]
    mine, lean = (statistics.median(a[x] for a in ours) for x in ("seconds", "lean"))
    emit(f"{title}, {last - first} days: peak memory", ours[0]["peak_mb"], None, "MB", n)
    for e in engines:
        all_of_it, curve = (statistics.median(a[x] for a in theirs[e]) for x in ("held", "seconds"))
        against = f"vectorbt {sides['vectorbt'].version} ({e})"
        emit(f"{title}, {last - first} days: equity, orders and holdings, peer {against}", mine, all_of_it, "s", n)
        emit(f"{title}, {last - first} days: equity only, peer {against} with its orders", lean, curve, "s", n)
        emit(f"{title}: peak memory, peer {against}", ours[0]["peak_mb"], theirs[e][0]["peak_mb"], "MB", n)
        both = {"ours": ours[0], against: theirs[e][0]}
        print(json.dumps({x: {k: a[x] for k, a in both.items()} for x in ("wealth", "orders")}), flush=True)


def _against_qlib(sides: dict[str, Side], title: str, first: int, last: int, n: int) -> None:
    """Qlib takes minutes for the whole panel: fewer rounds, on the stretch that ``--days`` allows."""
    ask = {"first": first, "last": last, "capital": CAPITAL}
    # a limit of None would mean 0.095 to Qlib
    costs = {"open_cost": RATE, "close_cost": RATE, "min_cost": 0.0, "limit_threshold": 1e9, "trade_unit": None}
    ours = [sides["ours"].ask(rate=RATE, **ask) for _ in range(8)][1:]
    qlib = [sides["qlib"].ask(signal="weights", **ask, **costs) for _ in range(n)]
    mine, days = statistics.median(a["seconds"] for a in ours), last - first
    emit(f"{title}, {days} days, peer pyqlib {sides['qlib'].version}", mine,
         statistics.median(a["seconds"] for a in qlib), "s", n)  # fmt: skip
    emit(f"{title}, {days} days, peer pyqlib, its loop over days only", mine,
         statistics.median(a["loop"] for a in qlib), "s", n)  # fmt: skip
    emit(f"{title}: peak memory, peer pyqlib", ours[0]["peak_mb"], qlib[0]["peak_mb"], "MB", n)
    wealth = {"ours": ours[0]["wealth"], "qlib": qlib[0]["wealth"]}
    if "vectorbt" in sides:
        wealth["vectorbt"] = sides["vectorbt"].ask(engine="numba", rate=RATE, **ask)["wealth"]
    print(json.dumps({"days": days, "wealth": wealth}), flush=True)


def stored(panel: Panel) -> Panel:
    """The panel as Qlib's files hold it: adjusted closes and factors of float32."""
    factor = panel.fields["factor"].astype(np.float32).astype(np.float64)
    close = panel.view("close").astype(np.float32).astype(np.float64) / factor
    return panel.replace(fields={"close": close, "factor": factor})


def untied(scores: np.ndarray) -> np.ndarray:
    """Ranks instead of scores: equal ones by symbol, names without a score after all others.

    Qlib orders the former by an unstable sort, the latter (held, not in the prediction) by Python's hash seed.
    """
    rank = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.argsort(-rank, axis=1, kind="stable")
    out = np.empty(scores.shape)
    np.put_along_axis(out, order, np.broadcast_to(-np.arange(scores.shape[1], dtype=np.float64), out.shape), axis=1)
    out[~np.isfinite(scores).any(axis=1)] = np.nan
    return out


def qlib(args) -> None:
    """Qlib mode beside Qlib, on a made panel and on the real one."""
    calm = made(500, 300, daily=0.01)
    beside_qlib(calm, "made, no halts, no limits", args.peer_python, (("scores", None),))
    random_markets(args.peer_python, 4 if args.quick else 16)
    panel, what = real()
    if args.quick:
        a, b = np.searchsorted(panel.sessions, np.array(["2018-11-01", "2021-01-01"], "datetime64[D]"))
        panel = panel.rows(int(b)).since(int(a))
    order = np.argsort(np.array(panel.symbols))  # ties go by symbol in the ranks too
    beside_rules(panel)
    beside_qlib(panel.assets(order), what, args.peer_python, (("scores", None), ("untied", None), ("untied", 100)))


def beside_qlib(panel: Panel, what: str, python: str, variants: tuple[tuple[str, int | None], ...]) -> None:
    """Compare on the prices that Qlib's files hold, then on the panel's own."""
    as_qlib, scores = stored(panel), momentum(panel)
    signals = {"scores": scores, "untied": untied(scores)}
    first = int(np.argmax(np.isfinite(scores).any(axis=1))) + 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, panel, as_qlib.view("close"), factor=as_qlib.fields["factor"], **signals)
        side = Side(python, HERE.with_name("simulate_qlib.py"), name)
        try:
            for signal, lots in variants:
                answer = side.ask(signal=signal, first=first, last=len(scores), trade_unit=lots, **QLIB)
                title = f"{what} {panel.shape[0]} x {panel.shape[1]}, {signal}, lots {lots or 'none'}"
                ours = lambda p: qlib_topk_dropout(p, signals[signal], trade_unit=lots, **QLIB)  # noqa: B023, E731
                seconds = alone(lambda: ours(as_qlib), 1)  # noqa: B023
                emit(f"top 50 drop 5, {title}, peer pyqlib {side.version}", seconds, answer["seconds"], "s", 1)
                equity, held = (np.load(folder / f"{x}.npy", allow_pickle=False) for x in ("equity", "holdings"))
                for which, p in (("Qlib's float32", as_qlib), ("the panel's float64", panel)):
                    report(f"{title}, {which} prices", panel, signals[signal], ours(p), equity, held)
        finally:
            side.close()


def report(
    title: str, panel: Panel, scores: np.ndarray, book: Book, equity: np.ndarray, held: np.ndarray
) -> None:  # fmt: skip
    """Print the largest difference of daily returns, and the first bar that parts by more than 1e-6 with its cause."""
    ours, theirs = np.r_[CAPITAL, book.equity], np.r_[CAPITAL, equity]
    apart = np.abs(ours[1:] / ours[:-1] - theirs[1:] / theirs[:-1])
    differ = ~np.isclose(book.shares, held, rtol=1e-6, atol=1e-6)
    out = {"compared": title, "bars": len(apart), "largest difference of daily returns": float(f"{apart.max():.3g}"),
           "wealth": {"ours": float(book.equity[-1]), "qlib": float(equity[-1])},
           "first divergence": "none", "first difference of holdings": "none"}  # fmt: skip
    if (apart > 1e-6).any():
        out["first divergence"] = str(panel.sessions[book.start + int(np.argmax(apart > 1e-6))])
    if differ.any():
        k = int(np.argmax(differ.any(axis=1)))
        out["first difference of holdings"] = str(panel.sessions[book.start + k])
        out["cause"] = cause(panel, scores, book, k, held[k])
    print(json.dumps(out, ensure_ascii=False), flush=True)


def cause(panel: Panel, scores: np.ndarray, book: Book, k: int, held: np.ndarray) -> list[str]:
    """Say for the names held differently at bar k what set them apart."""
    t, lines = book.start + k, []
    names, before, mine = panel.symbols, scores[book.start + k - 1], book.shares[k]
    for n in np.flatnonzero((mine > 0) != (held > 0))[:5]:
        equal = [names[m] for m in np.flatnonzero(before == before[n]) if m != n]
        order = np.flatnonzero((book.fills.t == t) & (book.fills.n == n))
        why = REASONS[book.fills.reason[order[0]]] if len(order) else "not ordered"
        tie = f", its score equals that of {', '.join(equal)}" if equal else ""
        if not np.isfinite(before[n]):
            tie = f", one of {np.sum(~np.isfinite(before) & (book.shares[k - 1] > 0))} held names without a score"
        lines.append(f"{names[n]}: {mine[n]:.6g} shares here ({why}), {held[n]:.6g} in Qlib{tie}")
    for n in np.flatnonzero((mine > 0) & (held > 0) & ~np.isclose(mine, held, rtol=1e-6))[:3]:
        factor = panel.fields["factor"][t, n]
        lines.append(f"{names[n]}: {mine[n] * factor:.1f} raw shares here, {held[n] * factor:.1f} in Qlib")
    return lines


def random_market(seed: int) -> tuple[Panel, np.ndarray, dict]:
    """A small panel with halts, late listings, limit days and dividends, ranks, and random options."""
    rng = np.random.default_rng(seed)
    T, N = int(rng.integers(40, 120)), int(rng.integers(15, 60))
    moves = rng.normal(0, rng.choice([0.02, 0.05]), (T, N))
    moves = np.clip(np.where(rng.random((T, N)) < 0.05, 0.1, moves), -0.3, 0.5)
    gone = rng.random((T, N)) < rng.choice([0.0, 0.1])
    gone |= np.arange(T)[:, None] < rng.integers(0, T // 2, N) * (rng.random(N) < 0.3)
    panel = made(T, N, dividends=0.01)
    factor = panel.fields["factor"].copy()
    adjusted = np.where(gone, np.nan, 10 * np.cumprod(1 + moves, axis=0))
    scores = np.where(gone & (rng.random() < 0.5), np.nan, rng.standard_normal((T, N)))
    scores[rng.integers(1, T)] = np.nan
    k = int(rng.integers(3, 12))
    options = {
        "topk": k, "n_drop": int(rng.integers(1, k + 1)), "capital": float(rng.choice([1e5, 1e6, 1e8])),
        "open_cost": float(rng.choice([0, 5e-4, 2e-3])), "close_cost": float(rng.choice([0, 1.5e-3])),
        "min_cost": float(rng.choice([0, 5])), "limit_threshold": float(rng.choice([0.095, 0.03, 1e9])),
        "trade_unit": (None, 100)[int(rng.integers(2))], "risk_degree": float(rng.choice([0.95, 0.5, 1.0])),
        "hold_thresh": int(rng.choice([1, 3])), "forbid_all_trade_at_limit": bool(rng.integers(2)),
    }  # fmt: skip
    return stored(panel.replace(fields={"close": adjusted / factor, "factor": factor})), untied(scores), options


def random_markets(python: str, n: int) -> None:
    """The accounts of ``n`` small random markets in Qlib and here, each with its own options."""
    worst = []
    for seed in range(n):
        panel, scores, options = random_market(seed)
        first = int(np.argmax(np.isfinite(scores).any(axis=1))) + 1
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder, panel, panel.view("close"), factor=panel.fields["factor"], scores=scores)
            side = Side(python, HERE.with_name("simulate_qlib.py"), name)
            side.ask(signal="scores", first=first, last=len(scores), **options)
            side.close()
            equity = np.load(folder / "equity.npy", allow_pickle=False)
        worst.append(float(np.abs(qlib_topk_dropout(panel, scores, **options).equity / equity - 1).max()))
    print(json.dumps({"random markets": n, "largest relative differences of the account": worst}), flush=True)


def at_limits(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """(T, N) bool: the close is at the upper, at the lower limit of the dated rules."""
    from hitherto.exchange.rules import lay

    laid = lay("cn", panel, assume_st="never")
    up, down, tick, band = (laid.terms[:, c][laid.kind] for c in range(4))  # UP, DOWN, TICK, BAND
    adjusted, factor = carried(panel.view("close")), carried(panel.fields["factor"])
    last = np.vstack([np.full((1, panel.shape[1]), np.nan), adjusted[:-1]]) / factor
    reference, at = (np.floor(x * 1e4 / tick + 0.5 + 1e-6) for x in (last, panel.fields["close"]))
    top = np.maximum(np.floor((reference * (10_000 + up) + 5_000) / 10_000), reference + band)
    low = np.minimum(np.floor((reference * (10_000 - down) + 5_000) / 10_000), reference - band)
    return (at >= top) & (up >= 0), (at <= low) & (up >= 0)


def beside_rules(panel: Panel) -> None:
    """Count what Qlib's limits decide otherwise than the exchange's, in the orders of the Qlib-mode book."""
    fills = qlib_topk_dropout(panel, momentum(panel), **QLIB).fills
    top, low = (x[fills.t, fills.n] for x in at_limits(panel))
    buy, done = fills.ordered > 0, fills.shares != 0
    by_limit = np.isin(fills.reason, (LIMIT_UP, LIMIT_DOWN))
    counts = {
        "orders": buy.size, "sales refused at the upper limit, where buyers queue": by_limit & ~buy & top,
        "buys refused at the lower limit, where sellers queue": by_limit & buy & low,
        "refused beyond 9.5 %, the board's limit not reached": by_limit & ~top & ~low,
        "buys filled at the upper limit": done & buy & top, "sales filled at the lower limit": done & ~buy & low,
    }  # fmt: skip
    print(json.dumps({k: int(np.sum(v)) if k != "orders" else v for k, v in counts.items()}), flush=True)


def hindsight(panel: Panel, what: str, n: int) -> None:
    """The exact dynamic programme for one holding."""
    title = f"best path of one holding, {what} {panel.shape[0]} x {panel.shape[1]}"
    emit(title, alone(lambda: best_path(panel, 10.0), n), None, "s", n)


def main() -> None:
    options = parser()
    options.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    options.add_argument("--vectorbt-python", metavar="PATH", help="interpreter of the environment with vectorbt")
    options.add_argument("--days", type=int, default=0, help="days that Qlib simulates in `simple`, 0 = all")
    options.add_argument("--repeats", type=int, default=1, help="rounds of Qlib in `simple`, a minute or more each")
    options.add_argument("--serve", metavar="FOLDER", help="be our half of `simple`, as a process of its own")
    args = options.parse_args()
    if args.serve:
        serve(Path(args.serve))
        return
    if args.quick and not args.days:
        args.days = 100
    n = 3 if args.quick else 9
    if "qlib" in args.part and args.peer_python:
        qlib(args)
    if {"rules", "simple", "hindsight"} & set(args.part):
        panel, what = real()
        if "simple" in args.part:
            simple(panel, what, args, n)
        if "rules" in args.part:
            rules(panel, what, n)
        if "hindsight" in args.part:
            hindsight(panel, what, 3)


if __name__ == "__main__":
    main()
