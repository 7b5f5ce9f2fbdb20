"""One seam for progress: a live terminal line, a notebook cell, plain log lines, or nothing; always events.jsonl.

No single library is right in all four: rich says nothing until the end when piped, widgets leave debris in notebooks.
"""

from __future__ import annotations

import datetime
import html
import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

from hitherto.errors import ConfigError

Mode = Literal["auto", "rich", "plain", "html", "off"]
FREQUENT = ("step", "epoch")  # told at most once per interval; every other event is always told


class Progress:
    """Takes event dicts (``emit``) and shows them; use as a context.

    mode: "auto" (HITHERTO_PROGRESS, else by where it runs), "rich", "plain" (lines on stderr, at most one per
    ``interval`` seconds for steps and epochs), "html" (one notebook output), "off". log_path: events are appended
    there, one JSON object per line with a UTC ``time``, flushed; NaN and inf become the strings "nan", "inf", "-inf".
    Text from data is stripped of control characters and escaped. ConfigError for an unknown mode.
    """

    def __init__(
        self, mode: Mode = "auto", log_path: Path | None = None, *, interval: float = 5.0, stream: TextIO | None = None
    ) -> None:
        self.stream = stream or sys.stderr
        self.mode = _choose(mode, self.stream)
        self.interval = interval if self.mode == "plain" else 0.5
        self._told = -math.inf
        self._lock = threading.Lock()
        self._log: TextIO | None = _open_log(log_path) if log_path is not None else None
        self._live: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.mode == "rich" and self._live is not None:
            self._live.stop()
        if self._log is not None:
            self._log.close()
            self._log = None
        self._live = None

    def emit(self, event: Mapping[str, Any]) -> None:
        """Log and show ``event``; it must hold "event", its kind. Several threads may call it."""
        with self._lock:
            self._emit(event)

    def _emit(self, event: Mapping[str, Any]) -> None:
        if self._log is not None:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
            self._log.write(json.dumps(_plain({"time": now, **event}), ensure_ascii=False) + "\n")
            self._log.flush()
        if self.mode == "off":
            return
        frequent = event.get("event") in FREQUENT
        if frequent and time.monotonic() - self._told < self.interval:
            return
        if frequent:
            self._told = time.monotonic()
        text = describe(event)
        if self.mode == "plain":
            print(text, file=self.stream, flush=True)
        elif self.mode == "rich":
            self._show_rich(text, passing=frequent)
        else:
            self._show_html(text)

    def _show_rich(self, text: str, *, passing: bool) -> None:
        from rich.console import Console
        from rich.text import Text

        if self._live is None:
            self._live = Console(file=self.stream).status(Text(text))
            self._live.start()
        if passing:
            self._live.update(Text(text))
        else:
            self._live.console.print(Text(text))

    def _show_html(self, text: str) -> None:
        from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

        shown = HTML(f"<code>{html.escape(text)}</code>")
        if self._live is None:
            self._live = display(shown, display_id=True)
        else:
            self._live.update(shown)


def describe(event: Mapping[str, Any]) -> str:
    """Return the event as one line of text without control characters."""
    kind = str(event.get("event", "event"))
    rest = {k: v for k, v in event.items() if k not in ("event", "time") and v is not None}
    if "epoch" in rest and "epochs" in rest:
        rest["epoch"] = f"{rest['epoch'] + 1}/{rest.pop('epochs')}"
    words = [kind] + [f"{k} {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in rest.items()]
    return "".join(c if c.isprintable() else " " for c in "  ".join(words))


def _choose(mode: str, stream: TextIO) -> str:
    if mode == "auto":
        mode = os.environ.get("HITHERTO_PROGRESS", "auto")
    if mode not in get_args(Mode):
        raise ConfigError(f"progress must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    if mode != "auto":
        return mode
    shell = sys.modules.get("IPython")  # in a kernel it is imported already
    # PyCharm's notebooks do not redraw display handles
    if shell is not None and "PYCHARM_HOSTED" not in os.environ:
        kernel = shell.get_ipython()
        if kernel is not None and type(kernel).__name__ == "ZMQInteractiveShell":
            return "html"
    return "rich" if stream.isatty() else "plain"


def _open_log(path: Path) -> TextIO:
    try:
        with open(path, "a+b") as file:  # a killed run may have left half a line
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.write(b"\n")
        return open(path, "a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"could not open the event log {path}: {error.strerror}. Choose another folder.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):  # NumPy and torch
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
