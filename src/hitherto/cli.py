"""The command line: verbs, no logic."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from hitherto.errors import ConfigError, HithertoError

# Idle OpenMP workers that spin make a small LSTM many times slower on a busy machine; set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="Deep learning for markets that uses only what was known until now.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

Out = Annotated[Path | None, typer.Option("--out", help="Run folder (default: hitherto-runs/NAME-TIME).")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b=c (may be repeated).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@app.command()
def demo(out: Out = None, assignments: Set = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Run the demo study on the embedded real prices: table, audit and report."""
    from hitherto.demo import STUDY

    _run(STUDY, out, assignments, resume=False, quiet=quiet, as_json=as_json)


@app.command()
def run(
    study: Path, out: Out = None, assignments: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take up an interrupted run in --out.")] = False,
    quiet: Quiet = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Run a study file on your own bars: forecasts, books, audit and report in one folder."""
    _run(study, out, assignments, resume=resume, quiet=quiet, as_json=as_json)


@app.command()
def ladder(
    study: Path, out: Out = None, assignments: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take up an interrupted run in --out.")] = False,
    grow: Annotated[bool, typer.Option("--grow", help="Grow one net step by step on train and validation.")] = False,
    quiet: Quiet = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Run a study and print its ladder: every model beside the one above it, ridge and random scores; or --grow one."""
    if grow:
        from hitherto.study import growing

        if out is not None or resume:
            raise ConfigError("--grow keeps no run folder: leave --out and --resume out")
        _print(growing.command(study, assignments, as_json=as_json))
        return
    from hitherto.study import ladder

    _need_out(resume, out)
    text, code = ladder.command(study, out, assignments or [], resume=resume, quiet=quiet, as_json=as_json)
    _print(text)
    raise typer.Exit(code)


@app.command()
def tune(
    study: Path, assignments: Set = None,
    budget: Annotated[str, typer.Option("--budget", help='Wall-clock time, such as "10 min" or "48 h".')] = "10 min",
    model: Annotated[str | None, typer.Option("--model", help="Name of the model (default: the first).")] = None,
    folds: Annotated[int, typer.Option("--folds", help="Walk-forward folds inside the stretch before the test.")] = 4,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the search; one that exists is resumed.")] = None,
    quiet: Quiet = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Search settings of one model on data before the test, under a time budget; resumable, every trial on record."""
    from hitherto.study import tuning

    mode = "off" if quiet else "auto"
    _print(tuning.command(study, assignments, model, budget, folds, out, progress=mode, as_json=as_json))


@app.command()
def diagnose(
    study: Path, assignments: Set = None,
    model: Annotated[str | None, typer.Option("--model", help="Name of the net (default: the first).")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps and batch sizes.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Advise on learning rate and batch size of a net; measure its sharpness. Reads train and validation only."""
    from hitherto.study import diagnosing

    _print(diagnosing.command(study, assignments, model, quick, as_json=as_json))


@app.command()
def speed(
    study: Annotated[Path | None, typer.Option("--study", help="Also project the time of this study's nets.")] = None,
    assignments: Set = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write (default: in the cache).")] = None,
    compare: Annotated[tuple[Path, Path] | None, typer.Option("--compare", help="Two saved results.")] = None,
    threads: Annotated[str, typer.Option("--threads", help="Worker threads, or auto.")] = "auto",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, mps or auto.")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer sizes and steps.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Measure the real training loop on this machine: samples a second by size, and where the time goes."""
    from hitherto.study import speeding

    text = speeding.command(study, assignments, out, compared=compare, threads=threads, device=device, quick=quick,
                            as_json=as_json, tell=lambda line: typer.echo(line, err=True))  # fmt: skip
    _print(text)


@app.command()
def audit(
    target: Annotated[str, typer.Argument(help="STUDY.toml, FILE.py[:NAME], or fills as .csv or .parquet.")],
    assignments: Set = None,
    bars: Annotated[str | None, typer.Option("--bars", help="Bars for a file or fills (default: made up).")] = None,
    zone: Annotated[str | None, typer.Option("--zone", help="Time zone of the bars.")] = None,
    gets: Annotated[str, typer.Option("--gets", help="What a function gets: symbol, long, wide, panel.")] = "symbol",
    level: Annotated[str, typer.Option("--level", help="quick or full.")] = "quick",
    page: Annotated[Path | None, typer.Option("--html", help="Also write the audit as an HTML page.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Try to catch a study, a file of code or a fills table using the future. Exit 0 nothing, 1 leak, 5 cannot tell."""
    from hitherto.study.examining import examine

    report = examine(target, assignments, bars=bars, zone=zone, gets=gets, level=level)
    if page is not None:
        from hitherto.files import write_atomic

        write_atomic(page, report.to_html(f"Audit of {Path(target).name}").encode())
    _print(report.to_json() if as_json else report.to_text())
    raise typer.Exit(report.exit_code)


@app.command()
def features(
    bars: Annotated[str | None, typer.Argument(metavar="[BARS]", help="Bar file, folder, or sample:NAME.")] = None,
    name: Annotated[str | None, typer.Option("--set", help="alpha158, alpha360, close_only, price_volume.")] = None,
    vwap: Annotated[str | None, typer.Option("--vwap", help="field, amount (amount / volume) or typical.")] = None,
    expr: Annotated[list[str] | None, typer.Option("--expr", help="name=TEXT (may be repeated).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Parquet file to write.")] = None,
    explain: Annotated[str | None, typer.Option("--explain", help="Explain this expression.")] = None,
    zone: Annotated[str | None, typer.Option("--zone", help="Time zone of the bars.")] = None,
) -> None:  # fmt: skip
    """Compute features of bars into one Parquet table, list a set, or explain an expression."""
    from hitherto.features import command

    _print(command.run(bars, name, vwap, expr or [], out, explain, zone))


@app.command()
def hindsight(
    bars: Annotated[str, typer.Option("--bars", help="Bar file, folder, or sample:NAME.")],
    year: Annotated[int | None, typer.Option("--year", help="Calendar year.")] = None,
    every: Annotated[str, typer.Option("--every", help="week, month, quarter, year, or a number of bars.")] = "month",
    first: Annotated[str | None, typer.Option("--from", help="First date, instead of --year.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last date.")] = None,
    membership: Annotated[str | None, typer.Option("--membership", help="Dated members, a table.")] = None,
    worst: Annotated[bool, typer.Option("--worst", help="Only the worst list.")] = False,
    top: Annotated[int, typer.Option("--top", help="Names a period, in equal parts.")] = 1,
    capital: Annotated[float, typer.Option("--capital", help="Wealth at the start.")] = 1.0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for lists.csv and lists.html.")] = None,
    zone: Annotated[str | None, typer.Option("--zone", help="Time zone of the bars.")] = None,
) -> None:  # fmt: skip
    """List the best and worst names of every period in hindsight, with running wealth and the daily edge it equals."""
    from hitherto.hindsight import command

    text = command.run(bars, year, every, first=first, last=last, membership=membership, worst=worst, top=top,
                       capital=capital, out=out, zone=zone)  # fmt: skip
    _print(text)


@app.command()
def trials(
    target: Annotated[Path | None, typer.Argument(metavar="[STUDY.toml | RUN | LEDGER]")] = None,
    as_json: Json = False,
) -> None:
    """List the trials that read the test data, check their chain, and say what so much searching shows on noise."""
    from hitherto.study import trials as ledger

    text, code = ledger.command(target, as_json=as_json)
    _print(text)
    raise typer.Exit(code)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show versions, threads, device, kernels and extras; measure one LSTM step; advise."""
    from hitherto.doctor import examine

    _print(examine().to_json() if as_json else examine().to_text())


@app.command()
def version() -> None:
    """Print the version."""
    import hitherto

    _print(hitherto.__version__)


def _run(
    study: Path, out: Path | None, assignments: list[str] | None, *, resume: bool, quiet: bool, as_json: bool
) -> None:
    from hitherto.study import Study

    _need_out(resume, out)
    result = Study.load(study, assignments).run(out, resume=resume, progress="off" if quiet else "auto")
    _print(result.to_json() if as_json else result.summary())
    raise typer.Exit(result.audit.exit_code if result.audit is not None else 0)


def _need_out(resume: bool, out: Path | None) -> None:
    if resume and out is None:
        raise ConfigError("--resume needs --out, the folder of the interrupted run")


def _print(text: str) -> None:
    # A symbol or path may hold characters the terminal cannot show, or control codes that would drive it.
    clean = "".join(c if c in "\n\t" or c.isprintable() else " " if c.isspace() else "?" for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(clean.encode(encoding, "replace").decode(encoding) + "\n")


def main() -> None:
    """Run the command line; a wrong input ends in one line on stderr and the exit code of its kind."""
    try:
        app(standalone_mode=True)
    except HithertoError as e:
        raise SystemExit(_fail(str(e), e.exit_code)) from None
    except KeyboardInterrupt:
        raise SystemExit(_fail("interrupted; go on with --resume", 130)) from None
    except MemoryError:
        raise SystemExit(_fail("out of memory; use fewer symbols or a shorter span", 4)) from None
    except Exception as e:
        if os.environ.get("HITHERTO_DEBUG"):
            raise
        # Python's own exit code for this is 1, which here means a leak.
        text = f"internal error, {type(e).__name__}: {e}; HITHERTO_DEBUG=1 shows where. Please report it"
        raise SystemExit(_fail(text, 4)) from None


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write("hitherto: " + "".join(c if c.isprintable() else "?" for c in line) + "\n")
    return code
