"""Doors for other people's code: a function of a pandas frame, a function of a panel, or the text of an expression."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.target import FunctionTarget, Outputs, Unit
from hitherto.errors import ConfigError
from hitherto.panel import Panel
from hitherto.seeds import generator

if TYPE_CHECKING:
    import pandas as pd

Gets = Literal["symbol", "long", "wide", "panel"]
FOREIGN_RTOL = 1e-10  # sums in blocks: another length, other rounding


@dataclass(frozen=True, eq=False)
class EventTarget:
    """A target that is given a table of events beside the bars: compute(events, panel); made by ``from_function``."""

    name: str
    compute: Callable[[pd.DataFrame, Panel], Outputs]
    events: pd.DataFrame
    unit: Unit = "date"
    exact: bool = True
    shape_rtol: float = FOREIGN_RTOL

    def run(self, panel: Panel, /) -> Outputs:
        """Return the columns for ``panel`` and its own events."""
        return self.compute(self.events, panel)

    def told(self, events: pd.DataFrame) -> EventTarget:
        """Return the same function, given another table."""
        return dataclasses.replace(self, events=events)


def from_function(
    f: Callable[..., Any], gets: Gets = "symbol", unit: Unit | None = None, exact: bool = True,
    events: pd.DataFrame | None = None,
) -> FunctionTarget | EventTarget:  # fmt: skip
    """Return a plain function as a target.

    gets: what it is given. "symbol": the pandas frame of one listing, rows = its listed dates, columns = the panel's
    fields (raw prices), once per listing; "long": one frame indexed by (date, symbol); "wide": columns (field,
    symbol); "panel": a Panel. It returns a Series, DataFrame or array for the same rows ("wide": dates by symbols);
    rows it drops are NaN. unit: what a number may look at; by default "asset" for "symbol" and "date" for the rest.

    events: a pandas table of news, announcements or filings with a column known_at, the time of publication (dates or
    texts; without a zone: UTC); the function is called with it as a second argument. Then the audit changes what was
    published after a decision, too. "symbol": where the table has a column symbol, each call gets its listing's rows.
    """
    name = getattr(f, "__name__", type(f).__name__)

    def bound(events: pd.DataFrame | None) -> Callable[[Any], Any]:
        return f if events is None else lambda data: f(data, events.copy())  # a copy: foreign code may write into it

    readers: dict[str, Callable[[pd.DataFrame | None, Panel], Outputs]] = {
        "symbol": lambda table, panel: _by_symbol(f, name, panel, table),
        "long": lambda table, panel: _long(bound(table), name, panel),
        "wide": lambda table, panel: _wide(bound(table), name, panel),
        "panel": lambda table, panel: _outputs(bound(table)(panel), name),
    }
    if gets not in readers:
        raise ConfigError(f"audit: gets must be one of {', '.join(readers)}, got {gets!r}")
    read, unit = readers[gets], unit or ("asset" if gets == "symbol" else "date")
    if events is None:
        return FunctionTarget(name, lambda panel: read(None, panel), unit, exact, FOREIGN_RTOL)
    instants(events)
    return EventTarget(name, read, events, unit, exact)


def instants(events: pd.DataFrame) -> NDArray[np.int64]:
    """Return (E,) int64 ns since 1970 UTC: when each event was known; ConfigError where nobody can say."""
    import pandas as pd

    if not isinstance(events, pd.DataFrame) or "known_at" not in events.columns:
        raise ConfigError("audit: events need a pandas table with a column known_at: when each one was published")
    said = events["known_at"]
    if said.dtype.kind in "biuf" and said.notna().to_numpy().any():
        raise ConfigError("audit: the events' known_at holds what is no time: numbers; give dates or ISO 8601 texts")
    try:
        clock = pd.to_datetime(said, utc=True, format=None if said.dtype.kind == "M" else "ISO8601")
    except (ValueError, TypeError) as e:
        raise ConfigError(f"audit: the events' known_at holds what is no time: {e}".split("\n")[0]) from e
    if clock.isna().any():
        row = int(clock.isna().to_numpy().argmax())
        raise ConfigError(f"audit: the events' known_at is empty in row {row}; an event without a time is not known")
    return clock.dt.tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64)


def from_text(text: str, build: Callable[[Panel, dict[str, str]], Any]) -> FunctionTarget:
    """Return an expression's text as a target; ``build(panel, {name: text})`` gives an object with names and values.

    ``hitherto.build_features`` is such a builder. Unit "asset": a cross-sectional expression is found out and treated
    so.
    """

    def run(panel: Panel) -> Outputs:
        features = build(panel, {text: text})
        return {name: features.values[:, :, i] for i, name in enumerate(features.names)}

    return FunctionTarget(text, run, "asset", True)


def made_up_panel(rows: int = 320, listings: int = 24, seed: int = 0) -> Panel:
    """Return a random-walk panel with suspensions and factor steps, for auditing a function without data of one's own.

    Fields open, high, low, close, volume, factor (T, N) float64; NaN on suspended days; weekdays from 2018-01-01.
    """
    rng = generator(seed, "audit", "made up")
    shape = (rows, listings)
    close = 20.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    open_ = close * np.exp(0.005 * rng.standard_normal(shape))
    spread = 1.0 + 0.01 * np.abs(rng.standard_normal(shape))
    fields = {
        "open": open_, "high": np.maximum(open_, close) * spread, "low": np.minimum(open_, close) / spread,
        "close": close, "volume": np.round(np.exp(13.0 + rng.standard_normal(shape))),
    }  # fmt: skip
    halted = np.zeros(shape, bool)
    for n in range(listings):
        for first in rng.integers(10, max(11, rows - 10), 2):
            halted[first : first + int(rng.integers(1, 9)), n] = True
    halted[-1] = False
    for values in fields.values():
        values[halted] = np.nan
    fields["factor"] = np.cumprod(np.where(rng.random(shape) < 0.008, 1.05, 1.0), axis=0)
    days = np.busday_offset(np.datetime64("2018-01-01"), np.arange(rows), roll="forward")
    times = days.astype("datetime64[ns]").astype(np.int64) + 15 * 3_600_000_000_000
    on = np.ones(shape, bool)
    return Panel(
        times=times, sessions=days, symbols=tuple(f"MADE{n:02d}" for n in range(listings)), fields=fields, listed=on,
        suspended=halted, missing=~on, universe=on.copy(), adjustment="factor",
    )  # fmt: skip


def dates(panel: Panel) -> pd.DatetimeIndex:
    """Return the row index of frames: session dates, or decision times (UTC) where a session holds several."""
    import pandas as pd

    daily = len(np.unique(panel.sessions)) == len(panel.sessions)
    return pd.DatetimeIndex((panel.sessions if daily else panel.times).astype("datetime64[ns]"), name="date")


def _by_symbol(f: Callable[..., Any], name: str, panel: Panel, events: pd.DataFrame | None = None) -> Outputs:
    import pandas as pd

    clock, (T, N) = dates(panel), panel.shape
    out: dict[str, NDArray[np.float64]] = {}
    for n in range(N):
        on = panel.listed[:, n]
        if not on.any():
            continue
        frame = pd.DataFrame({k: v[on, n] for k, v in panel.fields.items()}, index=clock[on])
        if events is None:
            made = f(frame)
        elif "symbol" in events.columns:
            made = f(frame, events[events["symbol"] == panel.symbols[n]].reset_index(drop=True))
        else:
            made = f(frame, events.copy())
        for key, values in _frame_columns(made, clock[on], name).items():
            out.setdefault(key, np.full((T, N), np.nan))[on, n] = values
    return out


def _long(f: Callable[..., Any], name: str, panel: Panel) -> Outputs:
    import pandas as pd

    T, N = panel.shape
    on = panel.listed.ravel()
    whole = pd.MultiIndex.from_product([dates(panel), list(panel.symbols)], names=["date", "symbol"])
    rows = whole.take(np.flatnonzero(on))
    frame = pd.DataFrame({k: v.ravel()[on] for k, v in panel.fields.items()}, index=rows)
    out = {}
    for key, values in _frame_columns(f(frame), rows, name).items():
        flat = np.full(T * N, np.nan)
        flat[on] = values
        out[key] = flat.reshape(T, N)
    return out


def _wide(f: Callable[..., Any], name: str, panel: Panel) -> Outputs:
    import pandas as pd

    clock = dates(panel)
    frame = pd.concat({k: pd.DataFrame(v.copy(), clock, list(panel.symbols)) for k, v in panel.fields.items()}, axis=1)
    made = f(frame)
    if isinstance(made, pd.DataFrame):
        foreign = made.columns.difference(list(panel.symbols)) if made.columns.nlevels == 1 else made.columns
        if len(foreign):
            raise ConfigError(
                f"audit: {name} returned a column {foreign[0]!r}, which is no listing; return one column per symbol"
            )
        made = made.reindex(index=clock, columns=list(panel.symbols)).to_numpy(np.float64)
    return _outputs(made, name)


def _frame_columns(made: Any, rows: pd.Index, name: str) -> dict[str, NDArray[np.float64]]:
    """Lay what a function returned over the rows it was given."""
    import pandas as pd

    if isinstance(made, pd.Series):
        made = made.to_frame(name)
    if isinstance(made, pd.DataFrame):
        if not made.index.equals(rows):
            foreign = made.index.difference(rows)
            if len(foreign) and len(made) != len(rows):
                raise ConfigError(
                    f"audit: {name} returned {len(made)} rows, some of them not among the {len(rows)} given ones, "
                    f"such as {foreign[0]!r}; keep the frame's index"
                )
            made = made.reindex(rows) if not len(foreign) else made.set_axis(rows)
        return {str(c): made[c].to_numpy(np.float64, na_value=np.nan) for c in made.columns}
    array = np.asarray(made, np.float64)
    if array.ndim not in (1, 2) or len(array) != len(rows):
        raise ConfigError(
            f"audit: {name} returned an array of shape {array.shape} for {len(rows)} rows; return one row each"
        )
    return {name: array} if array.ndim == 1 else {f"{name}[{k}]": array[:, k] for k in range(array.shape[1])}


def _outputs(made: Any, name: str) -> Outputs:
    if isinstance(made, dict):
        return {str(k): np.asarray(v) for k, v in made.items()}
    if hasattr(made, "names") and hasattr(made, "values"):  # Features
        return {n: made.values[:, :, i] for i, n in enumerate(made.names)}
    return {name: np.asarray(made, np.float64)}
