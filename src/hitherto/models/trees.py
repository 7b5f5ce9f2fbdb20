"""Gradient-boosted trees by LightGBM on the last row and a few lags: the baseline that most networks lose to.

Only the rows that the trees read are laid out, S x (lookback x F) float32; the windows themselves never are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.models.base import Context, Unit
from hitherto.models.linear import check_width, no_samples
from hitherto.models.targets import Target, check_neighbours, check_target, date_standardise
from hitherto.seeds import Stream
from hitherto.train.search import Range
from hitherto.windows import Windows

BATCH = 8192


@dataclass(frozen=True)
class LightGBM:
    """Boosted regression trees, one booster per output (Ke et al. 2017; squared error).

    lookback: rows used as inputs, the last one and lookback - 1 lags. leaves, learning_rate, rounds, min_data (samples
    a leaf needs), l1, l2, feature_share and row_share (drawn per tree): LightGBM's num_leaves, learning_rate,
    num_iterations, min_data_in_leaf, lambda_l1, lambda_l2, feature_fraction, bagging_fraction.
    patience: stop when the validation error has not fallen for so many rounds; without validation windows all
    ``rounds`` are used. target: "raw", or standardised per date ("cs_zscore", "cs_rank").
    A round is one tree, not an epoch: ``Context.max_epochs`` does not limit it. Same seed, same bits, at any number of
    threads. NaN rule: inputs are filled by the windows; a sample with any unknown output is left out.
    Errors: ConfigError for bad settings, DataError when no sample is left.
    """

    name: str = "lightgbm"
    unit: Unit = "asset"
    lookback: int = 5
    leaves: int = 31
    learning_rate: float = 0.05
    rounds: int = 500
    patience: int = 50
    min_data: int = 100
    l1: float = 0.0
    l2: float = 1.0
    feature_share: float = 0.8
    row_share: float = 0.8
    target: Target = "raw"
    space: ClassVar[Mapping[str, Range]] = {
        "leaves": Range(7, 127, log=True, whole=True),
        "learning_rate": Range(0.01, 0.2, log=True),
        "min_data": Range(20, 2000, log=True, whole=True),
        "l2": Range(1e-3, 100, log=True),
        "feature_share": Range(0.3, 1),
        "row_share": Range(0.5, 1),
        "lookback": Range(1, 20, whole=True),
    }

    def __post_init__(self) -> None:
        check_target(self.target, self.name)
        for key, low in {"lookback": 1, "leaves": 2, "rounds": 1, "patience": 1, "min_data": 1}.items():
            if getattr(self, key) < low:
                raise ConfigError(f"{self.name}: {key} must be >= {low}, got {getattr(self, key)}")
        for key in ("learning_rate", "feature_share", "row_share"):
            if not 0 < getattr(self, key) <= 1:
                raise ConfigError(f"{self.name}: {key} must lie in (0, 1], got {getattr(self, key)}")
        for key in ("l1", "l2"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ConfigError(f"{self.name}: {key} must be finite and >= 0, got {getattr(self, key)}")

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> TreesFit:
        """Return the fitted boosters; ``valid`` serves early stopping only."""
        import lightgbm as lgb

        check_neighbours(self.target, train.offsets, self.name)
        x, y = self._samples(train)
        if not len(x):
            raise DataError(no_samples(self.name))
        held = self._samples(valid)
        names = input_names(train, self.lookback)
        params = self._params(rng.number("lightgbm"), context.threads)
        # The inputs are binned once and shared by the outputs; only the labels change.
        data = lgb.Dataset(x, feature_name=names, params=params).construct()
        stages = [lgb.Dataset(held[0], reference=data, params=params).construct()] if len(held[0]) else []
        boosters = []
        for o in range(y.shape[1]):
            data.set_label(y[:, o])
            for stage in stages:
                stage.set_label(held[1][:, o])
            callbacks = [lgb.early_stopping(self.patience, verbose=False)] if stages else []
            booster = lgb.train(params, data, self.rounds, valid_sets=stages, callbacks=callbacks)
            trees = booster.best_iteration if stages else booster.current_iteration()
            loss = float(booster.best_score["valid_0"]["l2"]) if stages else None
            context.emit({"model": self.name, "output": o, "trees": trees, "valid_loss": loss, "samples": len(x)})
            boosters.append(booster.model_to_string(num_iteration=trees))
        return TreesFit(self.name, self.lookback, tuple(boosters), len(names), context.threads)

    def _params(self, seed: int, threads: int) -> dict[str, Any]:
        return {
            "objective": "regression", "metric": "l2", "num_leaves": self.leaves, "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_data, "lambda_l1": self.l1, "lambda_l2": self.l2,
            "feature_fraction": self.feature_share, "bagging_fraction": self.row_share, "bagging_freq": 1,
            "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": threads, "verbosity": -1,
        }  # fmt: skip

    def _samples(self, windows: Windows) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        x = last_rows(self.name, windows, self.lookback)
        if windows.label is None:
            raise ConfigError(f"{self.name}: these windows carry no label; fit on labelled ones")
        y = date_standardise(windows.targets(), windows.offsets, self.target)
        known = np.isfinite(y).all(axis=1)
        return (x, y) if known.all() else (x[known], y[known])


class TreesFit:
    """Fitted: one LightGBM model per output, held as text (what is saved) and read back from it (what predicts)."""

    def __init__(self, name: str, lookback: int, texts: tuple[str, ...], width: int, threads: int = 1) -> None:
        import lightgbm as lgb

        self.name, self.lookback, self.texts, self.width, self.threads = name, lookback, texts, width, threads
        self.boosters = [lgb.Booster(model_str=text) for text in texts]

    def predict(self, windows: Windows) -> NDArray[np.float64]:
        """Return (S, O) float64 in index order."""
        x = last_rows(self.name, windows, self.lookback)
        check_width(self.name, x, self.width)
        if not len(x):
            return np.zeros((0, len(self.texts)))
        return np.stack([np.asarray(b.predict(x, num_threads=self.threads), np.float64) for b in self.boosters], axis=1)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return {"model_0": uint8 UTF-8 text of the booster, ...}, one per output."""
        return {f"model_{o}": np.frombuffer(text.encode(), np.uint8) for o, text in enumerate(self.texts)}


def last_rows(who: str, windows: Windows, lookback: int) -> NDArray[np.float32]:
    """Return (S, lookback x F) float32 in index order: the last ``lookback`` rows of each window, oldest first."""
    if windows.lookback < lookback:
        raise ConfigError(f"{who}: reads {lookback} rows, these windows hold {windows.lookback}; lengthen theirs")
    if windows.features.is_token:
        raise ConfigError(f"{who}: needs numeric features, these are token ids; encode them first")
    out = np.empty((len(windows), lookback, windows.width), np.float32)
    done = 0
    for batch in windows.batches(BATCH):
        out[done : done + len(batch.t)] = batch.x[-lookback:].transpose(1, 0, 2)
        done += len(batch.t)
    return out.reshape(len(out), lookback * windows.width)


def input_names(windows: Windows, lookback: int) -> list[str]:
    """Return names for the columns of ``last_rows``, "ret_1@-4" .. "ret_1"; what LightGBM forbids becomes "_"."""
    names = list(windows.features.names)
    if windows.width > len(names):
        names.append("missing")
    out: list[str] = []
    for back in range(lookback - 1, -1, -1):
        for name in names:
            clean = re.sub(r'[\s",:\[\]{}]+', "_", name) + (f"@-{back}" if back else "")
            out.append(clean if clean not in out else f"{clean}#{len(out)}")
    return out
