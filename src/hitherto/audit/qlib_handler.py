"""A Qlib data handler as a target: anything whose ``fetch()`` gives a frame indexed by (datetime, instrument).

A handler that has already read its files cannot be shown another future, so that the audit needs what makes one from
prices. With Qlib that is ten lines (Qlib itself is never imported here)::

    from qlib.data.dataset.handler import DataHandlerLP
    from qlib.data.dataset.loader import StaticDataLoader

    def make(prices):                       # open, high, low, close, volume, ... by (datetime, instrument)
        made = my_features(prices)          # a frame of the same rows
        return DataHandlerLP(data_loader=StaticDataLoader(made), infer_processors=my_processors,
                             learn_processors=[], instruments=None)

    print(hitherto.audit(from_handler(make)).to_text())
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hitherto.audit import adapters
from hitherto.audit.target import Target
from hitherto.errors import ConfigError


def from_handler(make: Callable[[Any], Any], name: str | None = None, **fetch: Any) -> Target:
    """Return a target of unit "date" whose columns are those that the handler fetches.

    make: prices, a pandas frame indexed by (datetime, instrument), to a handler. fetch: arguments for its ``fetch``;
    where it takes ``col_set`` and none is given, "feature" is asked for; columns whose first level is "label" are left
    out (labels look ahead by design). Two-level names are joined by a dot.

    Errors: ConfigError when a finished handler is given instead, or when ``fetch`` gives no frame.
    """
    if hasattr(make, "fetch") and not isinstance(make, type):
        raise ConfigError(
            f"audit: {type(make).__name__} has already read its data, so that its future cannot be rewritten; pass a "
            "function that makes a handler from a frame of prices"
        )

    def fetched(prices: Any) -> Any:
        handler = make(prices.rename_axis(["datetime", "instrument"]))
        asked = dict(fetch)
        if "col_set" in inspect.signature(handler.fetch).parameters:
            asked.setdefault("col_set", "feature")
        made = handler.fetch(**asked)
        if not hasattr(made, "columns") or made.index.nlevels != 2:
            raise ConfigError(
                f"audit: {type(handler).__name__}.fetch gave {type(made).__name__}; it must be a frame indexed by "
                "(datetime, instrument)"
            )
        if made.columns.nlevels > 1:
            made = made.loc[:, [c for c in made.columns if c[0] != "label"]]
            made.columns = [".".join(str(part) for part in c) for c in made.columns]
        return made.rename_axis(["date", "symbol"])

    fetched.__name__ = name or getattr(make, "__name__", type(make).__name__)
    return adapters.from_function(fetched, "long")
