"""Run: the folder of one study, from which it can be repeated. The manifest is written last."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import Book
from hitherto.files import write_atomic, write_json
from hitherto.models.base import Forecast
from hitherto.panel import Panel

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Run:
    """A run folder: study.toml, run.json, forecasts, books, metrics, audit, weights, events, report, manifest.json.

    folder: where it is. Nothing outside it is written.
    """

    folder: Path

    @classmethod
    def start(cls, folder: Path, study_toml: str, *, resume: bool) -> Run:
        """Create the folder, or take up one that holds the same study; ConfigError when it holds something else."""
        kept = folder / "study.toml"
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder.name}: is a file; give a folder for --out")
        if folder.is_dir() and any(folder.iterdir()):
            if not resume:
                raise ConfigError(f"{folder.name}: already holds files; use --resume to go on, or another --out")
            if not kept.is_file() or kept.read_text(encoding="utf-8") != study_toml:
                raise ConfigError(f"{folder.name}: holds another study; --resume needs the study it was started with")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(kept, study_toml.encode())
        except OSError as e:
            raise ConfigError(f"{folder.name}: cannot be written: {e.strerror}; give another --out") from None
        return cls(folder)

    def save_forecasts(self, panel: Panel, forecasts: list[Forecast]) -> None:
        """Write forecasts.parquet: date, symbol, model, seed, fold and one float64 column per output."""
        write_frame(self.folder / "forecasts.parquet", forecast_frame(panel, forecasts))

    def save_books(self, panel: Panel, books: dict[str, Book]) -> None:
        """Write books.parquet (per bar) and fills.parquet (per order), a column ``book`` naming the portfolio."""
        import polars as pl

        write_frame(self.folder / "books.parquet", pl.concat([book_frame(panel, b) for b in books.values()]))
        write_frame(self.folder / "fills.parquet", pl.concat([fill_frame(panel, b) for b in books.values()]))

    def save_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Write weights.safetensors; names are fold/model/seed/tensor."""
        from safetensors.numpy import save

        ordered = {k: np.ascontiguousarray(tensors[k]) for k in sorted(tensors)}
        write_atomic(self.folder / "weights.safetensors", save(ordered))

    def save_json(self, name: str, value: Any) -> None:
        """Write ``value`` as JSON; NaN becomes null."""
        write_json(self.folder / name, plain(value))

    def finish(self) -> None:
        """Write manifest.json: the SHA-256 of every result file. A folder without it is unfinished."""
        files = sorted(p for p in self.folder.iterdir() if p.is_file() and p.name != "manifest.json")
        digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
        write_json(self.folder / "manifest.json", {"files": digests})

    def verify(self) -> None:
        """Raise a DataError when a file of the manifest is missing or changed."""
        path = self.folder / "manifest.json"
        if not path.is_file():
            raise DataError(f"{self.folder.name}: no manifest.json; the run did not finish, repeat it with --resume")
        for name, digest in json.loads(path.read_text(encoding="utf-8"))["files"].items():
            file = self.folder / name
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                raise DataError(f"{self.folder.name}/{name}: missing or changed since the run; repeat the study")


def plain(value: Any) -> Any:
    """Return JSON-ready Python: dataclasses to dicts, arrays to lists, non-finite numbers to None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, str | int | bool | type(None)) else str(value)


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame as zstd Parquet, atomically."""
    import io

    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def clock(panel: Panel, rows: Any) -> dict[str, Any]:
    """Return the date of each row, and its decision time (UTC) where a session holds several bars."""
    import polars as pl

    out: dict[str, Any] = {"date": pl.Series(panel.sessions[rows].astype("datetime64[ms]")).cast(pl.Date)}
    if len(np.unique(panel.sessions)) < len(panel.sessions):
        out["time"] = pl.Series(panel.times[rows].astype("datetime64[ns]"))
    return out


def forecast_frame(panel: Panel, forecasts: list[Forecast]) -> pl.DataFrame:
    """Return the long table of forecasts."""
    import polars as pl

    symbols = np.array(panel.symbols)
    frames = []
    for f in forecasts:
        t, n = np.nonzero(np.isfinite(f.values).all(axis=2))
        columns = {**clock(panel, t), "symbol": symbols[n]}
        values = {name: f.values[t, n, o] for o, name in enumerate(f.names)}
        head = {"model": [f.model] * len(t), "seed": np.full(len(t), f.seed), "fold": f.fold[t]}
        frames.append(pl.DataFrame({**columns, **head, **values}))
    return pl.concat(frames)


def book_frame(panel: Panel, book: Book) -> pl.DataFrame:
    """Return one row per bar of a book."""
    import polars as pl

    rows = slice(book.start, book.start + len(book.equity))
    return pl.DataFrame(
        {
            "book": [book.name] * len(book.equity), **clock(panel, rows), "equity": book.equity, "cash": book.cash,
            "fees": book.fees, "slippage": book.slippage, "corporate": book.corporate, "traded": book.traded,
        }
    )  # fmt: skip


def fill_frame(panel: Panel, book: Book) -> pl.DataFrame:
    """Return the fills table of a book with dates, symbols and reasons spelt out."""
    import polars as pl

    f = book.fills
    decided = pl.Series(panel.sessions[f.decided].astype("datetime64[ms]")).cast(pl.Date)
    head = {"book": pl.Series([book.name] * len(f.t), dtype=pl.String), "decided": decided, **clock(panel, f.t)}
    return pl.DataFrame(head).hstack(f.table(panel).drop("date", "decided"))
