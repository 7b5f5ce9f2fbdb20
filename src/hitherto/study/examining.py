"""``hitherto audit``: a study file, somebody's .py file, or a table of fills, each audited with what applies to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitherto.errors import ConfigError

if TYPE_CHECKING:
    from hitherto.audit import AuditReport


def examine(
    target: str, assignments: list[str] | None = None, *, bars: str | None = None, zone: str | None = None,
    gets: str = "symbol", level: str = "quick",
) -> AuditReport:  # fmt: skip
    """Audit what ``target`` names and return the report.

    "STUDY.toml": the study. "FILE.py" or "FILE.py:NAME": the function ``signal`` (or NAME) of a file, run in a
    contained child process on ``bars`` (None: made-up ones); gets: what it is given, "symbol", "long", "wide" or
    "panel". "FILLS.csv" or .parquet: a table of fills against ``bars``. Errors: ConfigError for what is none of these.
    """
    from hitherto.audit import audit

    path, _, entry = target.partition(".py:")
    suffix = Path(target).suffix.lower()
    if suffix == ".toml":
        from hitherto.study.core import Study

        return audit(Study.load(target, assignments), level=None if level == "quick" else level)  # type: ignore[arg-type]
    if assignments:
        raise ConfigError("audit: --set changes the settings of a study file; this target has none")
    panel = None if bars is None else _panel(bars, zone)
    if entry or suffix == ".py":
        from hitherto.audit import FileTarget

        with FileTarget(f"{path}.py" if entry else target, entry or "signal", gets) as file:  # type: ignore[arg-type]
            return audit(file, panel, level=level)  # type: ignore[arg-type]
    if suffix in (".csv", ".parquet"):
        return audit(_fills(target, panel))
    raise ConfigError(f"audit: '{target}' is neither a study (.toml), a file of code (.py) nor fills (.csv, .parquet)")


def _panel(bars: str, zone: str | None) -> Any:
    from hitherto.panel import read_bars

    return read_bars(bars, zone=zone)


def _fills(path: str, panel: Any) -> Any:
    from hitherto.audit import AuditPlan, plan_from_fills

    if panel is None:
        raise ConfigError(f"audit: '{Path(path).name}' holds fills; say against which bars with --bars")
    results, open_ = plan_from_fills(path, panel)
    return AuditPlan(panel, given=tuple(results), notes=tuple(open_))
