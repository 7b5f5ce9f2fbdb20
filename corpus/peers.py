"""``python -m corpus.peers``: the same items judged by what else there is today, beside the audit's stored matrix.

Peers: truncation where the signal changes sign, in the manner of freqtrade's look-ahead analysis (20 trades, last row
compared exactly, and by 1e-5 of its spread); the alarm of factor audits at a mean |IC| above 0.15; and three packages
in an environment of their own (``--peer-python``, with lookahead-lint, quantlint, monte-neo, scipy and scikit-learn for
the items): their lint of the item's source, and monte-neo's four look-ahead probes on one listing. All see the made-up
panel of the corpus.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from corpus.runner import Item
    from hitherto.audit.target import Target
    from hitherto.panel import Panel

HERE = Path(__file__).resolve().parent
STORED = HERE / "peers.json"
TRADES = 20  # freqtrade's own default number of trades to look at
HIGHEST_IC = 0.15
HORIZONS = (1, 5)
RTOL = 1e-5  # of a column's spread: what a second, forgiving reading of the same comparison lets pass
FEWEST = 10  # listings a date needs for an IC
FOREIGN = ("lookahead-lint", "quantlint", "monte-neo")  # packages of the other environment
AUDIT, TRADED, LOOSE, IC = "hitherto audit", "truncation, exact", "truncation, 1e-5", "|IC| > 0.15"
LA = "lookahead-lint"
QL, QL_ANY, MN, MN_ANY = "quantlint, certain", "quantlint, all", "monte-neo lint, fail", "monte-neo lint, all"
MN_RUN = "monte-neo probes"
PEERS = (AUDIT, TRADED, LOOSE, IC, LA, QL, QL_ANY, MN, MN_ANY, MN_RUN)
Verdict = bool | None  # None: not run, neither caught nor clean


def numbers(item: Item, panel: Panel) -> tuple[Target, Panel] | None:
    """Return the item as a function of a panel, and the panel that it is shown; None for tables and splitters.

    A pipeline is fitted once: fitted anew on cut data its split by share moves, and every item would alarm.
    """
    from corpus import runner, worlds
    from hitherto.audit import from_function, from_module, from_pipeline

    if item.kind in runner.GETS:
        if item.vintages:
            known = worlds.vintages(panel)
            panel = known[max(known)]
        return from_function(item.entry, runner.GETS[item.kind]), panel
    if item.kind == "module":
        plan = from_module(item.entry(), item.code.CHANNELS, name=item.name)
        return plan.given or plan.target, panel
    if item.kind == "pipeline":
        return from_pipeline(item.entry, panel, test=item.code.TEST, name=item.name).frozen, panel
    return None


def changes(values: NDArray[Any]) -> NDArray[Any]:
    """Return (K, 2) rows (t, n), by time, where the sign of (T, N) ``values`` differs from the row before.

    Numbers that never change sign are held against their own mean so far, which gives every signal its trades.
    """
    import numpy as np

    def turns(x: NDArray[Any]) -> NDArray[Any]:
        side = np.sign(x)
        both = np.isfinite(side[1:]) & np.isfinite(side[:-1])
        return np.argwhere(np.vstack([np.zeros((1, x.shape[1]), bool), both & (side[1:] != side[:-1])]))

    found = turns(values)
    if len(found):
        return found
    known = np.isfinite(values)
    so_far = np.cumsum(np.where(known, values, 0.0), axis=0) / np.maximum(np.cumsum(known, axis=0), 1)
    return turns(np.where(known, values - so_far, np.nan))


def at_trades(target: Target, panel: Panel, trades: int = TRADES) -> dict[str, Verdict]:
    """Return whether a number at a change of sign differs when the data end at that bar: bit for bit, and by RTOL.

    At most ``trades`` changes, spread over time; those that leave too few rows for the code are passed over. None when
    nothing could be compared.
    """
    import numpy as np

    full = {k: np.asarray(v, np.float64) for k, v in target.run(panel).items()}
    full = {k: v if v.ndim == 2 else v[:, :, 0] for k, v in full.items()}
    main = next(iter(full.values()))
    found = changes(main)
    found = found[found[:, 0] < len(main) - 1]  # after the last row there is nothing to cut
    if not len(found):
        return {TRADED: None, LOOSE: None}
    out: dict[str, Any] = {TRADED: False, LOOSE: False}
    tried = 0
    scale = {name: float(np.nanstd(whole)) for name, whole in full.items()}
    for t, n in found[np.unique(np.linspace(0, len(found) - 1, trades).round().astype(int))]:
        part = panel.rows(int(t) + 1)
        if target.unit == "asset":
            part = part.assets(np.array([n]))
        try:
            cut = target.run(part)
        except Exception:  # noqa: BLE001 - foreign code may need more rows than a short panel has: no trade then
            continue
        tried += 1
        for name, whole in full.items():
            last = np.asarray(cut[name], np.float64)
            last = (last if last.ndim == 2 else last[:, :, 0])[-1, 0 if target.unit == "asset" else n]
            one_lacks = np.isnan(last) != np.isnan(whole[t, n])
            out[TRADED] |= bool(one_lacks or abs(last - whole[t, n]) > 0)
            out[LOOSE] |= bool(one_lacks or abs(last - whole[t, n]) > RTOL * scale[name])
        if out[LOOSE]:
            break
    return out if tried else dict.fromkeys(out)


def too_good(target: Target, panel: Panel) -> dict[str, Verdict]:
    """Return whether the mean rank IC by date with the next 1 or 5 bars exceeds 0.15 in size; None when unknown."""
    import numpy as np
    import pandas as pd

    price = pd.DataFrame(panel.fields["close"] * panel.fields["factor"])
    sizes = []
    for values in target.run(panel).values():
        x = np.asarray(values, np.float64)
        ranked = pd.DataFrame(x if x.ndim == 2 else x[:, :, 0])
        for h in HORIZONS:
            ahead = price.shift(-h) / price - 1.0
            both = ranked.notna() & ahead.notna()
            a, b = ranked.where(both).rank(axis=1), ahead.where(both).rank(axis=1)
            by_date = a.corrwith(b, axis=1).where(both.sum(axis=1) >= FEWEST).to_numpy(np.float64)
            by_date = by_date[np.isfinite(by_date)]
            if len(by_date):
                sizes.append(abs(float(by_date.mean())))
    return {IC: max(sizes) > HIGHEST_IC if sizes else None}


def run_here(item: Item, panel: Panel) -> dict[str, Verdict]:
    """Judge one item by the peers that run its code here; a "file" item runs in a contained process."""
    from hitherto.audit import FileTarget

    out: dict[str, Verdict] = dict.fromkeys((TRADED, LOOSE, IC))
    try:
        if item.kind == "file":
            with FileTarget(item.path, "signal") as target:
                return at_trades(target, panel) | too_good(target, panel)
        made = numbers(item, panel)
        if made is not None:
            out |= too_good(*made)
            out |= at_trades(*made)
    except Exception as e:  # noqa: BLE001 - a foreign item may raise anything on a short panel: then it was not run
        sys.stderr.write(f"{item.name}: {type(e).__name__}: {str(e)[:120]}\n")
    return out


def run_foreign(
    python: str, items: Sequence[Item], panel: Panel
) -> tuple[dict[str, dict[str, Verdict]], dict[str, str]]:
    """Return name -> verdicts of the installed packages, and package -> version, or why it could not be asked."""
    import pandas as pd

    from corpus.worlds import vintages
    from hitherto.audit.adapters import dates

    with tempfile.TemporaryDirectory() as folder:
        todo, known = Path(folder) / "todo.json", vintages(panel)
        shown = {False: panel, True: known[max(known)]}
        frames = {k: Path(folder) / f"frame{k:d}.csv" for k in shown}
        for k, p in shown.items():
            one = pd.DataFrame({name: v[:, 0] for name, v in p.fields.items()}, index=dates(p))
            one.to_csv(frames[k], float_format="%.17g")
        asked = {i.name: [i.kind, str(i.path), str(frames[i.vintages])] for i in items}
        todo.write_text(json.dumps(asked), encoding="utf-8")
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            [python, str(Path(__file__)), "--inside", str(todo)], capture_output=True, text=True, env=env, check=False
        )
    if done.returncode:
        raise SystemExit(f"corpus.peers: {python} failed: {done.stderr.strip()[-300:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    sys.stderr.write(done.stderr)
    return said["items"], said["versions"]


def inside(todo: Path) -> dict[str, Any]:
    """Judge the items by what is installed beside this interpreter (it runs in the peers' own environment)."""
    asked = json.loads(todo.read_text(encoding="utf-8"))
    versions, out = {}, {name: {} for name in asked}
    for package in FOREIGN:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    for name, (kind, path, frame) in asked.items():
        if versions["lookahead-lint"] != "not installed":
            out[name][LA] = _lookahead_lint(path)
        if versions["quantlint"] != "not installed":
            out[name] |= _quantlint(path)
        if versions["monte-neo"] != "not installed":
            out[name] |= _monte_neo_lint(path)
            out[name][MN_RUN] = _monte_neo_probes(name, path, frame) if kind in ("frame", "file") else None
    return {"items": out, "versions": versions}


def _lookahead_lint(path: str) -> bool:
    from lookahead_lint import Config, analyze_paths  # type: ignore[import-not-found]

    return bool(analyze_paths([Path(path)], Config()).findings)


def _quantlint(path: str) -> dict[str, Verdict]:
    from quantlint.scan import has_certain_leak, scan  # type: ignore[import-not-found]

    found = scan(path, exclude=())  # by default it skips names with "test_"
    return {QL: bool(has_certain_leak(found)), QL_ANY: bool(found)}


def _monte_neo_lint(path: str) -> dict[str, Verdict]:
    from monte_neo.verify.lint import lint_source  # type: ignore[import-not-found]

    status = lint_source(Path(path).read_text(encoding="utf-8"))["status"]
    return {MN: status == "fail", MN_ANY: status in ("fail", "warn")}


def _monte_neo_probes(name: str, path: str, frame: str) -> Verdict:
    """Return whether a look-ahead check of its verify fails; its economics are no verdict on the future."""
    import pandas as pd
    from monte_neo.verify import ingest, lookahead  # type: ignore[import-not-found]

    df = pd.read_csv(frame, parse_dates=["date"])
    try:
        spec = importlib.util.spec_from_file_location(f"peer_item_{name}", path)
        if spec is None or spec.loader is None:
            return None
        code = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(code)

        def signal(table: Any) -> Any:
            return pd.Series(code.signal(table.set_index("date"))).to_numpy(dtype="float64")

        how = ingest.resolve_positions(signal(df), "auto")  # its default: signs, or weights where values look so
        full = lookahead.run_positions(signal, df, [lookahead.FULL], how)[0]
        said = [
            probe(signal, df, full=full, positions=how)["status"]
            for probe in (lookahead.probe_determinism, lookahead.probe_truncation, lookahead.probe_perturbation)
        ]
        said.append(lookahead.implausible_accuracy(df["open"], df["close"], full)["status"])
    except Exception as e:  # noqa: BLE001 - a foreign item may raise anything in a foreign environment
        sys.stderr.write(f"{name}: monte-neo: {type(e).__name__}: {str(e)[:120]}\n")
        return None
    return "fail" in said


def counts(items: Mapping[str, Mapping[str, Any]], peer: str) -> dict[str, int]:
    """Return of one peer: planted, caught, honest, false_alarms over all items, and how many of each it could run."""
    planted = [one["said"].get(peer) for one in items.values() if one["leak"]]
    honest = [one["said"].get(peer) for one in items.values() if not one["leak"]]
    return {
        "caught": sum(v is True for v in planted), "planted": len(planted),
        "planted_run": sum(v is not None for v in planted), "false_alarms": sum(v is True for v in honest),
        "honest": len(honest), "honest_run": sum(v is not None for v in honest),
    }  # fmt: skip


def by_class(items: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return class -> number of planted items and what each peer caught of them."""
    classes = sorted({one["leak"] for one in items.values() if one["leak"]})
    out: dict[str, dict[str, Any]] = {}
    for c in classes:
        said = [one["said"] for one in items.values() if one["leak"] == c]
        out[c] = {"planted": len(said), **{p: sum(s.get(p) is True for s in said) for p in PEERS}}
    return out


def text(stored: Mapping[str, Any]) -> str:
    """Return both tables: peers with catches and false alarms, and catches by class."""
    lines = [f"{'':<24}{'caught/planted':>16}{'could run':>12}{'false alarms/honest':>22}{'could run':>12}"]
    for p, c in stored["peers"].items():
        lines.append(f"{p:<24}{c['caught']:>9}/{c['planted']:<6}{c['planted_run']:>12}"
                     f"{c['false_alarms']:>15}/{c['honest']:<6}{c['honest_run']:>12}")  # fmt: skip
    lines += ["", f"{'':<6}{'planted':>8}  " + "  ".join(PEERS)]
    for c, one in stored["classes"].items():
        lines.append(f"{c:<6}{one['planted']:>8}  " + "  ".join(f"{one[p]:>{len(p)}}" for p in PEERS))
    return "\n".join(lines)


def audited(matrix: Path) -> dict[str, Verdict]:
    """Return name -> whether the stored matrix of the audit holds a finding; None where it did not run."""
    stored = json.loads(matrix.read_text(encoding="utf-8"))["items"]
    return {k: ("LEAK" in v["probes"].values() if v["ran"] else None) for k, v in stored.items()}


def collect(
    items: Iterable[Item], said: Mapping[str, Mapping[str, Verdict]], versions: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is stored: counts by peer, by class, and every verdict (null: could not be run)."""
    rows = {i.name: {"leak": i.leak, "said": {p: said[i.name].get(p) for p in PEERS}} for i in items}
    return {
        "panel": "made up, 320 x 24, seed 0", "trades": TRADES, "versions": dict(versions),
        "peers": {p: counts(rows, p) for p in PEERS}, "classes": by_class(rows), "items": rows,
    }  # fmt: skip


def write(stored: Mapping[str, Any], path: Path = STORED) -> None:
    """Write the verdicts, one item, class or peer a line."""
    parts = []
    for key, value in stored.items():
        if key in ("peers", "classes", "items"):
            lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{lines}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """Run, print both tables, and store them (a selection of items is not stored)."""
    options = argparse.ArgumentParser(prog="python -m corpus.peers", description=__doc__)
    options.add_argument("names", nargs="*", help="items; all without")
    options.add_argument("--peer-python", metavar="PATH", help="interpreter with lookahead-lint, quantlint, monte-neo")
    options.add_argument("--inside", metavar="FILE", help=argparse.SUPPRESS)
    args = options.parse_args(argv)
    if args.inside:
        sys.stdout.write("\n" + json.dumps(inside(Path(args.inside))) + "\n")
        return 0
    from corpus import runner
    from hitherto.audit import made_up_panel

    items, panel = runner.load_all(args.names or None), made_up_panel()
    versions: dict[str, str] = dict.fromkeys(FOREIGN, "no interpreter given")
    said: dict[str, dict[str, Verdict]] = {i.name: {} for i in items}
    if args.peer_python:
        said, versions = run_foreign(args.peer_python, items, panel)
    known = audited(runner.MATRIX)
    for item in items:
        said[item.name] |= {AUDIT: known.get(item.name), **run_here(item, panel)}
    stored = collect(items, said, versions)
    sys.stdout.write(text(stored) + "\n" + json.dumps(versions) + "\n")
    if not args.names:
        write(stored)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
