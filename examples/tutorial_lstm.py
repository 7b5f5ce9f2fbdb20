"""A well-known LSTM tutorial on the S&P 500, measured: its published settings beside repeating the last price.

    python examples/tutorial_lstm.py sp500.csv          (columns close and volume, oldest row first; CSV or Parquet)

Settings: windows of 50 rows of Close and Volume (49 in, Close of the 50th out), each divided by its own first row; the
first 85 % of the rows train. LSTM 100, dropout .2, LSTM 100, LSTM 100, dropout .2, one linear output; squared error,
Adam, 2 epochs of batches of 32 in time order. Paths: 50 steps, re-seeded. torch's own first weights and gates (the
tutorial's library draws others), seeds 0, 1, 2.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hitherto.compute import set_omp_passive
from hitherto.models import paths
from hitherto.models.layers import thin
from hitherto.models.linear import Ridge
from hitherto.models.net import FittedNet, Net
from hitherto.models.paths import PathForecast, PathScore, PathWindows
from hitherto.models.targets import Target
from hitherto.seeds import Stream

STEPS = 50
COLUMNS = ("close", "volume")


@dataclass(frozen=True)
class TutorialLSTM(Net):
    """The tutorial's net and training."""

    lookback: int = 49
    epochs: int = 2
    batch: int = 32
    clip: float = 1e9  # none
    dropout: float = 0.2
    target: Target = "raw"
    hidden: int = 100
    name: str = "tutorial LSTM"

    def build(self, width: int, columns: int) -> nn.Module:
        """Return the net."""
        return ThreeLSTM(width, self.hidden, columns, self.dropout)


class ThreeLSTM(nn.Module):
    """LSTM, dropout, LSTM, LSTM, dropout, linear: x (L, B, F) -> (B, C)."""

    def __init__(self, width: int, hidden: int, columns: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.LSTM(width, hidden), nn.LSTM(hidden, hidden, 2)
        self.head = nn.Linear(hidden, columns)
        self.dropout = dropout

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, C)."""
        x = thin(self.first(x)[0], self.dropout, generator)
        return self.head(thin(self.second(x)[0][-1], self.dropout, generator))


def read(path: Path) -> NDArray[np.float64]:
    """Return (T, 2) Close and Volume."""
    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    frame = frame.rename({name: name.lower() for name in frame.columns})
    return frame.select(COLUMNS).to_numpy().astype(np.float64)


def windows(series: NDArray[np.float64], columns: tuple[str, ...], outputs: tuple[str, ...]) -> list[PathWindows]:
    """Return the tutorial's train and test windows."""
    both = paths.path_windows(
        series[:, : len(columns)], columns, lookback=49, train_share=0.85, outputs=outputs, drop_last=True
    )
    return list(both)


def tutorial_paths(net: nn.Module, test: PathWindows, length: int) -> PathForecast:
    """Slide as the tutorial does, with its two defects: one number into every column, and p0 never moves."""
    starts = np.arange(test.first, test.last - length + 1, length)
    past = test.past(starts)
    base, x = past[0], past / past[0] - 1
    predicted = np.empty((len(starts), length, 1))
    for h in range(length):
        with torch.no_grad():
            n = net(torch.from_numpy(x.astype(np.float32)), None).numpy().astype(np.float64)
        predicted[:, h] = base[:, :1] * (n + 1)
        x = np.concatenate([x[1:], np.broadcast_to(n, x[0].shape)[None]])
    true = test.series[starts[:, None] + np.arange(length)][:, :, :1]
    return PathForecast(
        "multi-sequence", test.outputs, starts, predicted, true, base[:, :1], past[-1][:, :1], test.scale
    )


def growth(train: PathWindows, test: PathWindows, length: int) -> PathForecast:
    """The last Close, growing by the mean daily growth of the train rows: a line that knows no price pattern."""
    flat = paths.persistence(test, length)
    close = train.series[: train.last, 0]
    daily = (close[-1] / close[0]) ** (1 / (len(close) - 1))
    return dataclasses.replace(flat, predicted=flat.predicted * (daily ** np.arange(1, length + 1))[None, :, None])


def line(name: str, s: PathScore, *, flat: bool = False) -> str:
    """Return one row of the table; a ``flat`` forecast takes no side."""
    side = "" if flat else f"{s.hits:4d}/{s.paths:<4d}{s.direction:6.1%}"
    return f"{name:34} {s.mse:9.3e} {s.ratio:7.3f} {s.r2:7.4f} {s.correlation:7.4f} {side:15} {s.up_rate:6.1%}"


def fit(train: PathWindows, seed: int) -> FittedNet:
    """Return the net of one seed, trained in time order."""
    fitted = paths.fit_path(TutorialLSTM(), train, rng=Stream(seed, "tutorial"), shuffle=False)
    assert isinstance(fitted, FittedNet)
    return fitted


def main() -> None:
    """Print the two tables and the verdict."""
    parser = argparse.ArgumentParser(description="The LSTM tutorial beside persistence.")
    parser.add_argument("prices", type=Path, help="CSV or Parquet with columns close and volume")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    series, seeds = read(arguments.prices), range(arguments.seeds)
    train, test = windows(series, COLUMNS, ("close",))
    whole_train, whole_test = windows(series, COLUMNS, COLUMNS)
    line_train, line_test = windows(series, ("close",), ("close",))
    nets = [fit(train, seed).net for seed in seeds]
    whole = [fit(whole_train, seed).net for seed in seeds]
    ols = paths.fit_path(Ridge(lookback=48, alpha=0.0), line_train, rng=Stream(0))

    print(f"{len(train):,} train windows, {len(test):,} test windows; errors in units of a window's first Close\n")
    head = f"{'':34} {'MSE':>9} {'x naive':>7} {'R2':>7} {'corr':>7} {'right side':>15} {'up':>6}"
    print("Point by point\n" + head)
    print(line("zero (back to p0)", paths.zero(test).score()))
    print(line("persistence", paths.persistence(test).score(), flat=True))
    print(line("least squares on 49 closes", paths.point_by_point(ols, line_test).score()))
    scores = [paths.point_by_point(net, test).score() for net in nets]
    for seed, score in enumerate(scores):
        print(line(f"tutorial LSTM, seed {seed}", score))

    print(f"\nMulti-sequence, {STEPS} steps; naive: the last Close held flat\n" + head)
    print(line("persistence", paths.persistence(test, STEPS).score(), flat=True))
    print(line("mean growth of the train rows", growth(line_train, line_test, STEPS).score()))
    print(line("least squares on 49 closes", paths.multi_sequence(ols, line_test, STEPS).score()))
    for seed, net in enumerate(nets):
        print(line(f"tutorial's slide, seed {seed}", tutorial_paths(net, test, STEPS).score()))
    for seed, net in enumerate(whole):
        print(line(f"Close and Volume out, seed {seed}", paths.multi_sequence(net, whole_test, STEPS).score()))

    print(f"\nFull sequence, {len(test)} steps from the first test window\n" + head)
    print(line("mean growth of the train rows", growth(line_train, line_test, len(test)).score()))
    print(line("least squares on 49 closes", paths.full_sequence(ols, line_test).score()))
    for seed, net in enumerate(whole):
        print(line(f"Close and Volume out, seed {seed}", paths.full_sequence(net, whole_test).score()))

    print("\n" + paths.verdict_text(scores[0], "The tutorial's LSTM (seed 0)"))
    ratios = sorted(s.ratio for s in scores)
    print(
        f"Over seeds 0 to {len(ratios) - 1} its squared error is {ratios[0]:.0f} to {ratios[-1]:.0f} times that of "
        f"repeating the last Close. That repetition has an R2 of {paths.persistence(test).score().r2:.3f}: on 49-day "
        "returns any curve that copies the last price looks superb."
    )


if __name__ == "__main__":
    set_omp_passive()
    main()
