"""Many fits at once on the CPU: one on each thread, all of them reading the one panel in memory.

Every draw of a fit is a function of its own stream, so that fits side by side give the same bits as one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Check = Callable[[], None]


class HaltedError(Exception):
    """This fit was given up because another one failed or the user interrupted."""


def each_on_one(function: Callable[[Item, Check], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Return ``function(item, check)`` of every item in order, ``threads`` at a time, torch single-threaded in each.

    check: to be called now and then inside; it raises HaltedError once another item has failed or the caller was
    interrupted. The first failure in the order of the items is raised, after every running item has stopped.
    """
    if threads == 1 or len(items) < 2:
        return [function(item, lambda: None) for item in items]
    halt = threading.Event()

    def check() -> None:
        if halt.is_set():
            raise HaltedError

    with ThreadPoolExecutor(threads, "hitherto-fit", torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(function, item, check) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if any(not f.done() or f.exception() is not None for f in futures):
                halt.set()
                pool.shutdown(wait=True, cancel_futures=True)
    for f in futures:
        error = None if f.cancelled() else f.exception()
        if error is not None and not isinstance(error, HaltedError):
            raise error
    return [f.result() for f in futures]
