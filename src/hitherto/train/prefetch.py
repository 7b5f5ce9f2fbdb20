"""One thread that prepares the next batch while this one trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """Placeholder until the worker's version lands."""
    return iter(items)
