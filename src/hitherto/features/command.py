"""``hitherto features``: a set of features of a bar file to one Parquet table, or the explanation of one expression."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hitherto.errors import ConfigError, DataError, HithertoError
from hitherto.features import library
from hitherto.features.alpha158 import Vwap, alpha158, choose_vwap
from hitherto.features.alpha360 import alpha360, alpha360_panel
from hitherto.features.base import Features
from hitherto.features.expression import Expression, Node, parse
from hitherto.panel import Panel, read_bars

if TYPE_CHECKING:
    import pyarrow as pa

SETS: dict[str, Callable[..., dict[str, str]]] = {
    "alpha158": alpha158, "alpha360": alpha360, "alpha360_panel": alpha360_panel,
    "close_only": library.close_only, "price_volume": library.price_volume,
}  # fmt: skip
KEYS = ("date", "symbol")
CELLS = 1 << 16  # rows of one row group of the table
RESTATED = (
    "these bars are restated (levels know later splits and dividends); only scale-free features are honest on them"
)


def run(
    bars: str | None, name: str | None, vwap: str | None, expressions: list[str], out: Path | None,
    explained: str | None, zone: str | None,
) -> str:  # fmt: skip
    """Do what the command line asks and return the text to print: an explanation, a set's expressions, or a summary."""
    if explained is not None:
        if name is not None or vwap is not None or expressions or out is not None:
            raise ConfigError("--explain stands alone: it takes one expression and, if you like, BARS")
        return explain(explained, bars, zone)
    if bars is None and out is None:
        return listing(choose(name, vwap, expressions, None))
    if bars is None or out is None:
        lacking = "BARS, the bars to read" if bars is None else "--out FILE.parquet, where to write"
        raise ConfigError(f"features needs {lacking}; without both it only lists the expressions")
    return write(bars, name, vwap, expressions, out, zone)


def choose(
    name: str | None, vwap: str | None, expressions: Iterable[str], fields: Iterable[str] | None
) -> dict[str, str]:
    """Return name -> expression text: a named set, then the ``NAME=TEXT`` of ``expressions``.

    fields: what the bars hold, for a set that needs vwap; None if no bars were given. Raises ConfigError for an unknown
    set, a vwap that the set does not take, a text without a name, and a name given twice.
    """
    out: dict[str, str] = {}
    if name is not None:
        make = SETS.get(name)
        if make is None:
            raise ConfigError(f"no feature set '{name}'; there are {', '.join(SETS)}")
        takes = "vwap" in inspect.signature(make).parameters
        if vwap is not None and not takes:
            raise ConfigError(f"--vwap: the set {name} does not read vwap; leave it out")
        if takes and fields is not None:
            vwap = choose_vwap(tuple(fields), cast("Vwap | None", vwap), name)
        out.update(make(vwap) if takes else make())
    elif vwap is not None:
        raise ConfigError(
            "--vwap belongs to --set alpha158 or alpha360; in your own expressions write vwap or its formula"
        )
    for item in expressions:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier() or text.startswith("="):
            raise ConfigError(
                f"--expr must read name=TEXT with a plain name, as in ma_5='mean(close, 5) / close'; got {item!r}"
            )
        if key in out:
            raise ConfigError(f"--expr: there is already a feature '{key}'; give each its own name")
        out[key] = text
    for key in KEYS:
        if key in out:
            raise ConfigError(f"--expr: '{key}' is a column of the table already; name the feature otherwise")
    if not out:
        raise ConfigError("features: nothing to compute; give --set NAME, --expr name=TEXT, or --explain EXPR")
    return out


def write(
    bars: str, name: str | None, vwap: str | None, expressions: Iterable[str], out: Path, zone: str | None = None
) -> str:
    """Compute features of the bars into the Parquet file ``out`` and return a line that says what it holds.

    The table is long: date, symbol, then one float32 column per feature, null where unknown; by date, then by symbol,
    one row per listing and date at which it was listed. ``out`` is replaced only when the whole table is written.
    """
    _check_place(out, bars)
    expressions = list(expressions)
    choose(name, vwap, expressions, None)
    panel = read_bars(bars, zone=zone)
    texts = choose(name, vwap, expressions, panel.fields)
    features = library.build(panel, texts, threads=os.cpu_count() or 1)
    rows = _write(panel, features, out)
    note = f"; note: {RESTATED}" if panel.adjustment == "restated_total_return" else ""
    span = f"{panel.sessions[0]}..{panel.sessions[-1]}" if rows else "no date"
    return f"{out}: {rows} rows, {len(features.names)} features, {span}{note}"


def listing(texts: Mapping[str, str]) -> str:
    """Return ``name = text`` lines of a set."""
    width = max(map(len, texts))
    return "\n".join(f"{name:<{width}} = {text}" for name, text in texts.items())


def explain(text: str, bars: str | None = None, zone: str | None = None) -> str:
    """Return the tree of an expression, its lookback, the fields it reads, and the first bar at which it is full."""
    expression = parse(text)
    panel = None
    if bars is not None:
        panel = read_bars(bars, zone=zone)
        panel.need(expression.fields, f"'{expression.text}'")
    lines = [(_label(node), _rows(node.lookback), depth) for node, depth in _walk(expression.tree)]
    width = max(2 * depth + len(label) for label, _, depth in lines)
    tree = [f"  {'  ' * depth + label:<{width}}   {rows}" for label, rows, depth in lines]
    return "\n".join([
        str(expression), *tree,
        f"lookback         {_rows(expression.lookback)}",
        f"fields           {', '.join(expression.fields)}",
        f"first valid bar  {_first(expression, panel)}",
    ])  # fmt: skip


def _walk(node: Node, depth: int = 0) -> Iterator[tuple[Node, int]]:
    yield node, depth
    for i in node.inputs:
        yield from _walk(i, depth + 1)


def _label(node: Node) -> str:
    if node.op in ("field", "constant"):
        return node.text
    return " ".join([node.op, *(f"{x:g}" for x in node.numbers)])


def _rows(lookback: float) -> str:
    if lookback == 0:
        return "constant"
    return "all rows until t" if np.isinf(lookback) else f"{int(lookback)} row{'s' if lookback > 1 else ''}"


def _first(expression: Expression, panel: Panel | None) -> str:
    if expression.is_recursive:
        return "row 0, unsettled: it reads every row until t"
    row = int(expression.lookback) - 1
    if panel is None:
        return f"row {row}, counted from 0 (earlier rows see a shorter window)"
    if row >= len(panel.times):
        return f"none: the bars hold {len(panel.times)} rows, it reads {row + 1}"
    return f"{panel.sessions[row]}, row {row} (earlier rows see a shorter window)"


def _check_place(out: Path, bars: str) -> None:
    if out.suffix != ".parquet":
        raise ConfigError(f"--out must end in .parquet, got '{out}'")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ConfigError(
            f"--out: '{out.absolute().parent}' is not a folder, or '{out.name}' is one; name a file to write"
        )
    source = Path(bars)
    if source.exists() and (source.resolve() == out.resolve() or source.resolve() in out.resolve().parents):
        raise ConfigError(f"--out '{out}' would write into the bars '{bars}'; name another file")


def _write(panel: Panel, features: Features, out: Path) -> int:
    """Write the table row group by row group into a file beside ``out`` that then takes its place; return its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    rows = 0
    try:
        options: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["symbol"]}  # floats hardly ever repeat
        with pq.ParquetWriter(temporary, _schema(panel, features), **options) as file:
            for batch in _batches(panel, features):
                file.write_batch(batch)
                rows += len(batch)
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, out)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise HithertoError(f"could not write {out}: {reason}; free space or choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return rows


def _schema(panel: Panel, features: Features) -> pa.Schema:
    import pyarrow as pa

    date = pa.date32() if np.all(np.diff(panel.sessions).astype(int) > 0) else pa.timestamp("ns", tz=panel.zone)
    columns: list[Any] = [("date", date), ("symbol", pa.dictionary(pa.int32(), pa.string()))]
    return pa.schema(columns + [(name, pa.float32()) for name in features.names])


def _batches(panel: Panel, features: Features) -> Iterator[pa.RecordBatch]:
    """Yield the table by blocks of dates: what is listed, NaN as null."""
    import pyarrow as pa

    schema = _schema(panel, features)
    symbols = pa.array(panel.symbols, pa.string())
    times = panel.sessions if schema.field("date").type == pa.date32() else panel.times
    step = max(1, CELLS // max(panel.shape[1], 1))
    for a in range(0, panel.shape[0], step):
        t, n = np.nonzero(panel.listed[a : a + step])
        values = np.ascontiguousarray(features.values[a : a + step][t, n].T)
        if np.issubdtype(values.dtype, np.integer):
            raise DataError("features: token ids have no table; encode them first")
        columns = [pa.array(times[a : a + step][t]).cast(schema.field("date").type)]
        columns += [pa.DictionaryArray.from_arrays(pa.array(n.astype(np.int32)), symbols)]
        columns += [pa.array(v, pa.float32(), from_pandas=True) for v in values]
        yield pa.record_batch(columns, schema=schema)
