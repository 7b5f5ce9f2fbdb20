"""hitherto: deep learning for markets that uses only what was known until now.

The public names are loaded when first used, so that ``import hitherto`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "read_bars": "panel", "Panel": "panel",
    "Study": "study", "Result": "study.result", "Run": "run",
    "Features": "features.base",  "build_features": "features.library",
    "Label": "labels", "forward_return": "labels",
    "WalkForward": "split", "CombinatorialPurged": "split",
    "Windows": "windows",
    "Forecaster": "models.base", "Forecast": "models.base", "Encoder": "models.base",
    "LSTM": "models.recurrent", "Ridge": "models.linear", "LightGBM": "models.trees",
    "Persistence": "models.naive", "Zero": "models.naive",
    "Generator": "generate.base", "Paths": "generate.base", "Policy": "policy.base",
    "Weights": "portfolio.base", "topk_dropout": "portfolio.construct", "long_short": "portfolio.construct",
    "Book": "exchange.account", "Costs": "exchange.step", "simulate": "exchange.simulate",
    "HithertoError": "errors", "DataError": "errors", "ConfigError": "errors", "FutureError": "errors",
    "audit": "audit",
}  # fmt: skip
_RENAMED = {"build_features": "build"}

__all__ = [
    "LSTM",
    "Book",
    "CombinatorialPurged",
    "ConfigError",
    "Costs",
    "DataError",
    "Encoder",
    "Features",
    "Forecast",
    "Forecaster",
    "FutureError",
    "Generator",
    "HithertoError",
    "Label",
    "LightGBM",
    "Panel",
    "Paths",
    "Persistence",
    "Policy",
    "Result",
    "Ridge",
    "Run",
    "Study",
    "WalkForward",
    "Weights",
    "Windows",
    "Zero",
    "__version__",
    "audit",
    "build_features",
    "forward_return",
    "long_short",
    "read_bars",
    "simulate",
    "topk_dropout",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hitherto' has no attribute {name!r}")
    module = importlib.import_module(f"hitherto.{_WHERE[name]}")
    value = module if name == "audit" else getattr(module, _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from hitherto.audit.run import audit as audit
    from hitherto.errors import ConfigError, DataError, FutureError, HithertoError
    from hitherto.exchange.account import Book
    from hitherto.exchange.simulate import simulate
    from hitherto.exchange.step import Costs
    from hitherto.features.base import Features
    from hitherto.features.library import build as build_features
    from hitherto.generate.base import Generator, Paths
    from hitherto.labels import Label, forward_return
    from hitherto.models.base import Encoder, Forecast, Forecaster
    from hitherto.models.linear import Ridge
    from hitherto.models.naive import Persistence, Zero
    from hitherto.models.recurrent import LSTM
    from hitherto.models.trees import LightGBM
    from hitherto.panel import Panel, read_bars
    from hitherto.policy.base import Policy
    from hitherto.portfolio.base import Weights
    from hitherto.portfolio.construct import long_short, topk_dropout
    from hitherto.run import Run
    from hitherto.split import CombinatorialPurged, WalkForward
    from hitherto.study import Study
    from hitherto.study.result import Result
    from hitherto.windows import Windows
