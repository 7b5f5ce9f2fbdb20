"""Doors for tables of anyone's backtest: fills, positions, and series of returns, matched to a panel.

Such a table cannot be run again. What can be counted or tested in it is; every leak class that needs the code behind it
is listed as not assessed, and no planted leak stands in for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import fills as p9
from hitherto.audit.probes import ledger, since, survivors
from hitherto.audit.probes.ledger import UNKNOWN, Fills, Limits, carried, ratio
from hitherto.audit.probes.reads import expected_best
from hitherto.audit.target import Traded
from hitherto.audit.verdict import ProbeResult
from hitherto.errors import ConfigError, DataError
from hitherto.panel import Floats, Panel

if TYPE_CHECKING:
    import polars as pl

Table = Any  # a path to .csv or .parquet, or a pandas, polars or Arrow table
Answer = tuple[tuple[ProbeResult, ...], tuple[str, ...]]
BUY = frozenset(("buy", "b", "long", "+", "1", "+1", "cover", "买", "买入"))
SELL = frozenset(("sell", "s", "short", "-", "-1", "sale", "卖", "卖出"))
NOISE = 10_000  # trials whose best a Sharpe ratio is set against
WITH_SIZE = 0.3  # correlation with the mean absolute return of the same bar that honest books do not show

_CODE = "the signal cannot be run again"
_FIT = "nothing can be fitted again"
_ASK = "there is no model to ask"
_SPLIT = "labels and splits are not in a table"
_DATED = "events, news and holidays with their known_at are not in a table"
OPEN: Mapping[str, str] = {
    **dict.fromkeys(("L01", "L02", "L03", "L04"), _CODE), "L05": _FIT,
    **dict.fromkeys(("L06", "L07", "L08", "L09", "L10"), _ASK), "L11": _SPLIT, "L12": _CODE,
    **dict.fromkeys(("L13", "L14", "L15", "L16"), _SPLIT), "L17": _FIT, "L18": _FIT,
    "L19": "how many variants were tried is not in a table", "L20": _FIT,
    "L21": "no decision dates were given", "L22": "the bars have no low and high, or prices are the panel's own",
    "L23": "needs fills at the open, and limit prices", "L24": "whether names that died are missing from the bars",
    "L25": "the panel knows no membership", "L26": _CODE, "L27": _DATED, "L28": _CODE,
    "L29": "there are no fills", "L30": _DATED, "L31": _DATED, "L32": "there is no process to watch",
}  # fmt: skip


def plan_from_fills(
    fills: Fills | Table, panel: Panel, *, limits: Limits | None = None, t_plus_one: bool = False, rerun: bool = False
) -> Answer:
    """Return what the fills show, and per leak class, sorted, why it could not be assessed.

    fills: ``Fills``, or a table as for ``read_fills``. limits, t_plus_one: as for ``ledger.probe``. rerun: the book
    behind the table is run again as well (``audit.books``), which answers suspicions of fills at the open.
    """
    if not isinstance(fills, Fills):
        fills = read_fills(fills, panel)
    results: list[ProbeResult] = []
    book = traded(fills, panel)
    if book is not None:
        results.append(p9.probe(book))
    results.append(ledger.probe(fills, panel, limits=limits, t_plus_one=t_plus_one))
    results.append(ledger.best_price(fills, panel))
    results.append(ledger.tradability(fills, panel, limits))
    results.append(p9.same_bar(fills, panel, rerun=rerun))
    lived = survivors.table(fills, panel)
    results.append(lived)
    looked = {leak for r in results if r.status != "not assessed" for leak in r.hits}
    looked |= {"L21"} if book is not None else set()
    # That lifetimes were kept does not say whether dead names are missing.
    looked -= {"L24"} if lived.status != "LEAK" else set()
    return tuple(results), (*(f"{leak}: {why}" for leak, why in OPEN.items() if leak not in looked), *_strays(fills))


def plan_from_returns(returns: Table, panel: Panel | None = None, *, name: str = "returns") -> Answer:
    """Return what a series of returns shows, and per leak class why it could not be assessed.

    returns: a pandas Series with dates, or a table with columns date and return, one row per session. Nothing here
    acquits; the status is "cannot tell" when the series looks like hindsight (see ``returns_probe``).
    """
    days, values = read_returns(returns)
    reasons = {**OPEN, **dict.fromkeys(("L21", "L22", "L23", "L24", "L25", "L29"), "there are no fills")}
    return (returns_probe(days, values, panel, name),), tuple(f"{leak}: {why}" for leak, why in reasons.items())


def read_fills(table: Table, panel: Panel, *, name: str = "fills", columns: Mapping[str, str] | None = None) -> Fills:
    """Return a table of fills matched to ``panel``.

    columns of the table, in any case (``columns``: theirs -> ours): date (or time stamp), symbol, shares and price;
    side (buy or sell; otherwise the sign of shares), decided (date or time stamp of the decision; may be empty). An
    order with 0 or no shares, or no price, was not filled. Prices are raw, as traded. A date belongs to its session, a
    time stamp to the bar that ends at or after it.

    Errors: DataError for a missing column, unreadable dates or sides, prices at or below 0, infinite numbers.
    """
    frame, source = _frame(table, columns)
    for need in ("date", "symbol", "price"):
        if need not in frame.columns:
            raise DataError(
                f"{source}: no column '{need}', only {', '.join(frame.columns)}; name it, or pass columns="
                f"{{theirs: '{need}'}}"
            )
    shares = _numbers(frame, "shares", source) if "shares" in frame.columns else np.ones(len(frame))
    price = _numbers(frame, "price", source)
    low = np.flatnonzero(price <= 0)
    if len(low):
        raise DataError(f"{source} row {low[0] + 1}: price {price[low[0]]:g}; prices are above 0, empty if not filled")
    side = _sides(frame, shares, source)
    when, daily = _stamps(frame["date"], "date", source, panel)
    row, closed = _rows(when, daily, panel)
    decided, filled = None, row.copy()
    if "decided" in frame.columns and frame["decided"].null_count() < len(frame):
        known = frame["decided"].is_not_null().to_numpy()
        at, whole_days = _stamps(frame["decided"].drop_nulls(), "decided", source, panel)
        decided = np.full(len(frame), UNKNOWN, np.int64)
        if daily or whole_days:
            decided[known] = _known_by(at, whole_days, panel)
        else:
            decided[known], filled = at, when
    where = {s: i for i, s in enumerate(panel.symbols)}
    column = np.array([where.get(str(s), -1) for s in frame["symbol"].to_list()], np.int64)
    size = np.where(np.isfinite(shares) & np.isfinite(price), np.abs(shares), 0.0)
    return Fills(name, row, column, side, size, price, filled, decided, closed)


def from_positions(
    table: Table, panel: Panel, *, unit: Literal["shares", "weights"] = "shares", name: str = "positions"
) -> Fills:
    """Return the changes of a table of positions as fills at the close of the row at which they show.

    table: dates x symbols, or columns date, symbol and shares (or weight); a name that is absent or NaN is not held.
    unit: "weights" drift by themselves, so that only entering, leaving and turning count as fills.
    """
    if unit not in ("shares", "weights"):
        raise ConfigError(f"audit: positions are 'shares' or 'weights', not {unit!r}")
    rows, held = _positions(table, panel)
    if unit == "weights":
        held = np.sign(held)
        factor = np.ones(held.shape)
    else:
        factor = carried(panel.fields["factor"])[rows] if "factor" in panel.fields else np.ones(held.shape)
    steady = np.nan_to_num(held / factor)
    change = np.diff(steady, axis=0, prepend=np.zeros((1, held.shape[1])))
    if "factor" in panel.fields and unit == "shares":
        change[np.abs(change * factor) < 1] = 0.0  # rounding of shares after a split
    t, n = np.nonzero(change)
    shares = (change * np.nan_to_num(factor, nan=1.0))[t, n]
    row = rows[t].astype(np.int64)
    price = panel.fields["close"][row, n] if "close" in panel.fields else np.full(len(row), np.nan)
    return Fills(name, row, n.astype(np.int64), np.sign(shares).astype(np.int8), np.abs(shares), price, row.copy(),
                 sized=unit == "shares", at_close=True)  # fmt: skip


def read_returns(table: Table) -> tuple[NDArray[np.datetime64], Floats]:
    """Return (days, returns) sorted by day: (M,) datetime64[D], (M,) float64.

    DataError for NaN, inf or two of a day.
    """
    if type(table).__module__.split(".")[0] == "pandas" and getattr(table, "ndim", 2) == 1:
        table = table.rename("return").rename_axis("date").reset_index()
    frame, source = _frame(table, None)
    values = [c for c in frame.columns if c in ("return", "returns", "ret")]
    if "date" not in frame.columns or not values:
        raise DataError(f"{source}: columns date and return are needed, got {', '.join(frame.columns)}")
    returns = _numbers(frame, values[0], source)
    bad = np.flatnonzero(~np.isfinite(returns))
    if len(bad):
        raise DataError(f"{source} row {bad[0] + 1}: the return is missing; drop the row, or write 0 for a flat day")
    days = _days(frame["date"], "date", source)
    order = np.argsort(days, kind="stable")
    days = days[order]
    twice = np.flatnonzero(np.diff(days).astype(np.int64) == 0)
    if len(twice):
        raise DataError(f"{source}: two returns on {days[twice[0]]}; give one per session")
    return days, returns[order]


def returns_probe(
    days: NDArray[np.datetime64], returns: Floats, panel: Panel | None = None, name: str = "returns"
) -> ProbeResult:
    """Say what can be said of returns alone: luck, the same bar, and the dates.

    "cannot tell" when the Sharpe ratio is above what the best of 10,000 noise trials shows and the returns go with the
    mean absolute return of their own bar (correlation above 0.3 and 6 standard errors: who knows the bar earns its
    size), or when they go with the market's next bar more than with their own (dated a bar early). Else "not assessed".
    """
    begun = time.perf_counter()
    M, spread = len(returns), float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    what = "returns against luck and against the bars"
    if M < 60 or spread == 0:
        why = f"{M} returns{' without any change' * (spread == 0)}: nothing can be said"
        return ProbeResult("P9", name, what, "not assessed", why, seconds=since(begun))
    own = float(returns.mean()) / spread * math.sqrt(252)
    luck = expected_best(NOISE) * math.sqrt(252 / M)
    said = [f"Sharpe {own:.2f}; the best of {NOISE:,} noise trials over {M} sessions shows {luck:.2f}"]
    suspicious = False
    if panel is not None and "close" in panel.fields:
        size = {k: _correlation(days, returns, panel, k, size=True) for k in (0, 1)}
        market = {k: _correlation(days, returns, panel, k, size=False) for k in (-1, 0, 1)}
        said.append(
            f"correlation with the mean absolute return {size[0][0]:.2f} in the same bar and {size[1][0]:.2f} in the "
            f"next, with the market's return {market[0][0]:.2f} and {market[1][0]:.2f}"
        )
        rho, shared = size[0]
        if own > luck and rho > max(WITH_SIZE, 6 / math.sqrt(max(shared, 1))):
            suspicious = True
            said.append("suspicion: they grow with the size of their own bar, as if its direction were known")
        for lag, words in ((1, "early"), (-1, "late")):
            rho, shared = market[lag]
            if abs(rho) > max(2 * abs(market[0][0]), 6 / math.sqrt(max(shared, 1))):
                suspicious |= lag == 1
                said.append(f"{'suspicion: ' * (lag == 1)}they look dated one bar {words}")
    status = "cannot tell" if suspicious else "not assessed"
    return ProbeResult("P9", name, what, status, "; ".join(said), seconds=since(begun))


def traded(fills: Fills, panel: Panel) -> Traded | None:
    """Return the orders with a known decision as P9 takes them; None when there are none.

    Sharpe ratios of the table's own profit in currency, annualised, fees left out; one bar later: the same shares at
    the next bar's price, as far from its close. NaN for weights.
    """
    if fills.decided is None:
        return None
    on = (fills.decided != UNKNOWN) & (fills.shares > 0) & (fills.row >= 0)  # a fill outside the bars has row -1
    if not on.any():
        return None
    return Traded(fills.name, fills.decided[on], fills.filled[on], sharpe(profit(fills, panel, 0), panel),
                  sharpe(profit(fills, panel, 1), panel))  # fmt: skip


def profit(fills: Fills, panel: Panel, later: int) -> Floats:
    """Return (T,) the profit of each bar in currency, marked at the close, with every fill ``later`` bars later."""
    T, N = panel.shape
    if not fills.sized or "close" not in panel.fields:
        return np.full(T, np.nan)
    mark = carried(panel.view("close"))
    factor = carried(panel.fields["factor"]) if "factor" in panel.fields else np.ones((T, N))
    on = fills.known & (fills.row + later < T) & np.isfinite(fills.price)
    t, n = fills.row[on], fills.column[on]
    shares = (fills.side * fills.shares)[on] / factor[t, n]
    price = fills.price[on] * factor[t, n]
    if later:
        price = price * ratio(mark[t + later, n], mark[t, n])
    held, gain = np.zeros((T, N)), np.zeros(T)
    np.add.at(held, (t + later, n), shares)
    np.add.at(gain, t + later, np.nan_to_num(shares * (mark[t + later, n] - price)))
    gain[1:] += np.nansum(np.cumsum(held, axis=0)[:-1] * np.diff(mark, axis=0), axis=1)
    return gain


def sharpe(gain: Floats, panel: Panel) -> float:
    """Return the annualised Sharpe ratio (252 sessions) of gains per bar, from the first that is not 0; NaN if none."""
    live = np.flatnonzero(np.nan_to_num(gain))
    if len(live) < 2:
        return float("nan")
    part = gain[live[0] : live[-1] + 1]
    spread = float(part.std(ddof=1))
    per_day = len(panel.sessions) / len(np.unique(panel.sessions))
    return float(part.mean()) / spread * math.sqrt(252 * per_day) if spread > 0 else float("nan")


def _correlation(
    days: NDArray[np.datetime64], returns: Floats, panel: Panel, ahead: int, *, size: bool
) -> tuple[float, int]:
    """(correlation of the series with the market's (absolute) return ``ahead`` bars later, shared sessions)."""
    last = carried(panel.view("close"))
    step = np.where(np.isfinite(panel.fields["close"][1:]), ratio(last[1:], last[:-1]) - 1, np.nan)
    known = np.isfinite(step)
    moved = np.where(known, np.abs(step) if size else step, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    market = np.full(len(panel.sessions), np.nan)
    market[1:] = np.where(known.any(1), moved, np.nan)
    _, mine, theirs = np.intersect1d(days, panel.sessions.astype("datetime64[D]"), return_indices=True)
    at = theirs + ahead
    ok = (at >= 0) & (at < len(market))
    x, y = returns[mine[ok]], market[at[ok]]
    both = np.isfinite(y)
    if both.sum() < 60 or not x[both].std() or not y[both].std():
        return float("nan"), int(both.sum())
    return float(np.corrcoef(x[both], y[both])[0, 1]), int(both.sum())


def _frame(table: Table, columns: Mapping[str, str] | None) -> tuple[pl.DataFrame, str]:
    """The table with our lower-case names, and what it is called in messages."""
    from hitherto.market import files
    from hitherto.market.frames import NAME, to_polars

    source = NAME
    if isinstance(table, (str, Path)):
        path = Path(table)
        source = path.name
        if not path.is_file():
            raise DataError(f"{source}: there is no such file; check the path")
        frame = files.parquet(path, source) if path.suffix == ".parquet" else files.csv(path.read_bytes(), source)[0]
    else:
        frame = to_polars(table)
    named = {c: (columns or {}).get(c, c.strip().lower()) for c in frame.columns}
    if len(set(named.values())) < len(named):
        raise DataError(f"{source}: two columns of the same name; names are compared without case")
    return frame.rename(named), source


def _numbers(frame: pl.DataFrame, name: str, source: str) -> Floats:
    """A column as float64, NaN where empty; DataError for text and infinities."""
    import polars as pl

    column = frame[name]
    numbers = column.cast(pl.Float64, strict=False)
    blank = column.is_null()
    if column.dtype == pl.String:
        blank |= column.str.strip_chars().is_in(["", "nan", "NaN"])
    values = numbers.to_numpy().astype(np.float64)
    bad = np.flatnonzero((numbers.is_null() & ~blank).to_numpy() | np.isinf(values))
    if len(bad):
        raise DataError(f"{source} row {bad[0] + 1}, column '{name}': '{column[int(bad[0])]}' is no finite number")
    return values


def _sides(frame: pl.DataFrame, shares: Floats, source: str) -> NDArray[np.int8]:
    if "side" not in frame.columns:
        if "shares" not in frame.columns:
            raise DataError(f"{source}: no column 'side' and no signed 'shares': nobody can say who bought")
        return np.where(np.nan_to_num(shares) < 0, -1, 1).astype(np.int8)
    out = np.zeros(len(frame), np.int8)
    for i, value in enumerate(frame["side"].to_list()):
        word = str(int(value)) if isinstance(value, float) and value == int(value) else str(value).strip().lower()
        if word not in BUY and word not in SELL:
            raise DataError(f"{source} row {i + 1}: side '{value}' is neither buy nor sell")
        out[i] = 1 if word in BUY else -1
    return out


def _days(column: pl.Series, name: str, source: str) -> NDArray[np.datetime64]:
    from hitherto.market import dates
    from hitherto.market.place import Origin

    origin = Origin(source, headers={"date": name})
    return dates.resolve(dates.parse(column, origin), origin, "UTC").day


def _stamps(column: pl.Series, name: str, source: str, panel: Panel) -> tuple[NDArray[np.int64], bool]:
    """(days or UTC nanoseconds, whether they are days)."""
    from hitherto.market import dates
    from hitherto.market.place import Origin

    origin = Origin(source, headers={"date": name})
    clock = dates.resolve(dates.parse(column, origin), origin, panel.zone)
    return clock.key, clock.daily


def _rows(when: NDArray[np.int64], daily: bool, panel: Panel) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The panel's row of each stamp, -1 where it has none, and whether the day lies inside its span all the same."""
    from hitherto.market.dates import DAY

    sessions = panel.sessions.astype("datetime64[D]").astype(np.int64)
    one_a_day = len(np.unique(sessions)) == len(sessions)
    if daily and not one_a_day:
        raise DataError(
            "fills: dates without a time of day, but the panel has several bars a session; give time stamps"
        )
    if one_a_day:
        day = when if daily else _local_days(when, panel)
        row = np.searchsorted(sessions, day)
        same = (row < len(sessions)) & (sessions[np.minimum(row, len(sessions) - 1)] == day)
    else:
        row = np.searchsorted(panel.times, when)
        end = panel.times[np.minimum(row, len(sessions) - 1)]
        same = (row < len(sessions)) & (end - when < DAY // 2)
        day = _local_days(when, panel)
    inside = (day >= sessions[0]) & (day <= sessions[-1])
    return np.where(same, row, -1).astype(np.int64), inside & ~same


def _local_days(when: NDArray[np.int64], panel: Panel) -> NDArray[np.int64]:
    import polars as pl

    utc = pl.Series(when).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    return utc.dt.convert_time_zone(panel.zone).dt.date().to_physical().to_numpy().astype(np.int64)


def _known_by(at: NDArray[np.int64], daily: bool, panel: Panel) -> NDArray[np.int64]:
    """The last row whose session is not after the decision's day: what a decision of that day may have read."""
    sessions = panel.sessions.astype("datetime64[D]").astype(np.int64)
    return np.searchsorted(sessions, at if daily else _local_days(at, panel), side="right").astype(np.int64) - 1


def _positions(table: Table, panel: Panel) -> tuple[NDArray[np.intp], Floats]:
    """(R,) rows of the panel, rising, and (R, N) what is held there."""
    frame, source = _frame(table, None)
    dated = next((c for c in frame.columns if c in ("date", "index", "level_0")), None)
    if dated is None:
        raise DataError(f"{source}: no column 'date'; positions are dates x symbols, or date, symbol, shares")
    when, daily = _stamps(frame[dated], dated, source, panel)
    row, _ = _rows(when, daily, panel)
    if (row < 0).all():
        raise DataError(f"{source}: none of its dates is a session of the panel")
    rows = np.unique(row[row >= 0])
    held = np.zeros((len(rows), panel.shape[1]))
    at = np.searchsorted(rows, row)
    where = {s.lower(): i for i, s in enumerate(panel.symbols)}
    ok = row >= 0
    if "symbol" in frame.columns:
        amount = next((c for c in ("shares", "weight", "position", "quantity") if c in frame.columns), None)
        if amount is None:
            raise DataError(f"{source}: no column 'shares' or 'weight', only {', '.join(frame.columns)}")
        column = np.array([where.get(str(s).lower(), -1) for s in frame["symbol"].to_list()])
        ok &= column >= 0
        held[at[ok], column[ok]] = np.nan_to_num(_numbers(frame, amount, source)[ok])
    else:
        for name in frame.columns:
            if name in where:
                held[at[ok], where[name]] = np.nan_to_num(_numbers(frame, name, source)[ok])
    return rows.astype(np.intp), held


def _strays(fills: Fills) -> tuple[str, ...]:
    """Sentences on the orders that meet no cell of the panel."""
    closed = np.zeros(len(fills.row), bool) if fills.closed is None else fills.closed
    unknown, outside = int((fills.column < 0).sum()), int(((fills.row < 0) & ~closed).sum())
    out = []
    if unknown:
        out.append(f"{unknown} of {len(fills.row)} fills: the panel does not have their listing")
    if outside:
        out.append(f"{outside} of {len(fills.row)} fills: dated outside the panel")
    return tuple(out)
