"""One thread that prepares the next batch while this one is worked on: for panels that are read from disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from hitherto.errors import ConfigError

Item = TypeVar("Item")
END = object()


def prefetch(iterator: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """Yield the items of ``iterator`` unchanged and in order, with up to ``depth`` of them prepared in the background.

    One thread, started by the first ``next``, runs the iterator, never two items at once; beside the item in use at
    most ``depth`` exist. An exception of the iterator is raised here, in its place. Closing early (``close``, leaving
    the loop, losing the last reference) waits for the item under way, closes the iterator and ends the thread.
    ConfigError: depth below 1.
    """
    if depth < 1:
        raise ConfigError(f"prefetch: depth must be at least 1, got {depth}.")
    return _run(iterator, depth)


def _run(iterator: Iterable[Item], depth: int) -> Iterator[Item]:
    source = iter(iterator)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        ahead: deque[Future[Any]] = deque(pool.submit(next, source, END) for _ in range(depth))
        while True:
            item = ahead.popleft().result()
            if item is END:
                return
            ahead.append(pool.submit(next, source, END))
            yield item
            del item  # or the item just used would stay alive while the next one is waited for
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        close = getattr(source, "close", None)
        if close is not None:
            close()
