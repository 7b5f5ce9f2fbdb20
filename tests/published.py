"""Leaks that were published, each rebuilt in a few lines beside its repaired twin; every number is decided at its row.

A function gets the frame that its name in ``KINDS`` says (raw prices, a factor known on the day); a class is fitted on
the long frame and asked for predictions; a module gives one output a step; splits are pairs of sample numbers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import Ridge
from torch import nn

TEST = 0.6  # predictions count from this share of the dates on
AHEAD = 5  # bars of the labels and forecasts below


def level(frame):
    """Log of the adjusted price, from raw prices and the factor of the day."""
    return np.log(frame["close"] * frame["factor"])


# ---- full-sample scaler: jinglescode/time-series-forecasting-pytorch#19, gsyyysg/StockFormer#21 ----
def scaled_over_the_series(frame):
    x = level(frame)
    return (x - x.mean()) / x.std(ddof=0)


def scaled_as_time_passes(frame):
    x = level(frame)
    return (x - x.expanding(20).mean()) / x.expanding(20).std(ddof=0)


class ScaledOverAllDates:
    """A regression whose input is scaled by the moments of all dates, which are learned when it is fitted."""

    share = 1.0

    def samples(self, frame):
        x = level(frame).unstack()
        return x.diff(5).stack().dropna(), (x.shift(-AHEAD) - x).stack().dropna()

    def fit(self, frame):
        x, y = self.samples(frame)
        dates = frame.index.get_level_values(0).unique()
        known = x[x.index.get_level_values(0) < dates[int(self.share * (len(dates) - 1))]]
        self.mean, self.std = float(known.mean()), float(known.std())
        rows = x.index.intersection(y.index)
        rows = rows[rows.get_level_values(0) < dates[int(np.ceil(len(dates) * TEST)) - AHEAD]]
        self.model = Ridge(1.0).fit(self.scaled(x.loc[rows]), y.loc[rows])

    def scaled(self, x):
        return np.clip((x.to_numpy()[:, None] - self.mean) / self.std, -3, 3)

    def predict(self, frame):
        x, _ = self.samples(frame)
        return pd.Series(self.model.predict(self.scaled(x)), x.index)


class ScaledOverTrainDates(ScaledOverAllDates):
    share = TEST


# ---- a window normalised with its target: philipperemy/n-beats#3 ----
BACKCAST = 20


def window_with_its_target(frame):
    """Position of the last price in the range of its window, the values to be forecast included."""
    x = level(frame)
    window = x.shift(-AHEAD).rolling(BACKCAST + AHEAD)
    return (x - window.min()) / (window.max() - window.min())


def window_without_its_target(frame):
    x = level(frame)
    window = x.rolling(BACKCAST)
    return (x - window.min()) / (window.max() - window.min())


# ---- BatchNorm: Globe-Research/deep-orderbook#5 ----
class Normed(nn.Module):
    """A layer, a batch norm over batch and steps, a layer."""

    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(2, 6), nn.Linear(6, 1)
        self.norm = nn.BatchNorm1d(6)  # noqa: TID251  the leak itself
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in (*self.first.parameters(), *self.out.parameters()):
                weight.uniform_(-0.5, 0.5, generator=draw)

    def forward(self, x):
        h = self.norm(self.first(x).transpose(1, 2)).transpose(1, 2)
        return self.out(torch.relu(h)).squeeze(-1)


def norm_of_the_batch():
    """Asked in train mode: each step is normalised by moments that hold the steps after it."""
    return Normed().train()


def norm_frozen():
    return Normed().eval()


# ---- coins chosen with the test dates in sight: arXiv 1706.10059, ZhengyaoJiang/PGPortfolio ----
class CoinsOfTheLastMonth:
    """Trade a mean reversion in the coins with the largest volume over 30 dates that lie in the test."""

    until = 1.0

    def fit(self, frame):
        money = (frame["close"] * frame["volume"]).unstack()
        end = int(np.ceil(len(money) * self.until))
        self.coins = sorted(money.iloc[end - 30 : end].mean().nlargest(11).index)

    def predict(self, frame):
        rows = frame[frame.index.isin(self.coins, level=1)]
        return -level(rows).groupby(level=1).diff()


class CoinsBeforeTheTest(CoinsOfTheLastMonth):
    until = TEST


# ---- test rows made by the processors of training: SJTU-DMTai/MASTER ----
class Handler:
    """What a data handler looks like from outside: it holds a frame and gives it away."""

    def __init__(self, made):
        self.made = made

    def fetch(self):
        return self.made


def set_as_trained_on(prices):
    """Ranks of a five-day move, without the rows whose label is among the most extreme of their date."""
    x = level(prices).unstack()
    share = (x.shift(-AHEAD) - x.shift(-1)).rank(axis=1, pct=True)
    kept = x.diff(5).where((share > 0.05) & (share < 0.95))
    return Handler(kept.stack().dropna().to_frame("move"))


def set_as_known(prices):
    return Handler(level(prices).unstack().diff(5).stack().dropna().to_frame("move"))


# ---- TimeGAN: jsyoon0823/TimeGAN, data_loading.py ----
STEPS = 24


def min_max_over_the_series(frame):
    x = frame["close"]
    return (x - x.min()) / (x.max() - x.min() + 1e-7)


def min_max_so_far(frame):
    x = frame["close"].ffill()
    return ((x - x.cummin()) / (x.cummax() - x.cummin())).where(frame["close"].notna())


def windows_shuffled(n):
    order = np.random.default_rng(0).permutation(n)
    return [(order[: int(0.8 * n)], order[int(0.8 * n) :])]


def windows_in_order(n):
    cut = int(0.8 * n)
    return [(np.arange(cut - STEPS), np.arange(cut, n))]


# ---- Qlib: a negative Ref in a feature, segments that touch ----
def tomorrows_close(frame):
    """Ref($close, -1) / $close."""
    x = level(frame)
    return np.exp(x.shift(-1) - x)


def yesterdays_close(frame):
    """Ref($close, 1) / $close."""
    x = level(frame)
    return np.exp(x.shift(1) - x)


QLIB_LABEL = 2  # Ref($close, -2) / Ref($close, -1) - 1 is known two bars after its decision
NAMES = 3


def segments_that_touch(n):
    """Train, then validation, then test dates, with nothing between them; three names a date."""
    a, b = int(0.5 * n) // NAMES * NAMES, int(0.75 * n) // NAMES * NAMES
    return [(np.arange(a), np.arange(a, b)), (np.arange(a, b), np.arange(b, n))]


def segments_apart(n):
    gap = QLIB_LABEL * NAMES
    return [(train[:-gap], test) for train, test in segments_that_touch(n)]


# ---- forward-adjusted prices ----
def adjusted_to_the_last_day(frame):
    return np.log(frame["close"] * frame["factor"] / frame["factor"].iloc[-1])


def adjusted_from_the_first_day(frame):
    return np.log(frame["close"] * frame["factor"] / frame["factor"].iloc[0])


# ---- survivors only: AI4Finance-Foundation/FinRL#433 ----
def names_that_lived_on(frame):
    """A reversal of the names that still have a bar in the last days of the file."""
    x = level(frame)
    last = frame.index.get_level_values(0).unique()[-3:]
    alive = frame.loc[frame.index.get_level_values(0).isin(last), "close"].groupby(level=1).count()
    kept = x.index.get_level_values(1).isin(alive.index[alive == 3])
    return -x.groupby(level=1).diff(5).where(kept)


def names_of_the_day(frame):
    return -level(frame).groupby(level=1).diff(5)


# ---- a level and a change, for snapshots of the same history ----
def price_level(frame):
    return np.log(frame["close"])


def price_change(frame):
    return frame["close"] / frame["close"].shift(5) - 1


def rank_of_the_move(frame):
    """Rank of a five-day move among all names of the file, who they are being known at its end."""
    return frame["close"].pct_change(5, fill_method=None).rank(axis=1, pct=True)


# ---- headlines labelled by the same day's return: news/zh_headlines_spy ----
def news_read_as_of(panel, bars_early, strength=0.2):
    """Return the panel with "good": the share of a date's headlines that its own return turned out to call good.

    Joined at the bar of that date (0), or at the bar before it (1), which trades the very return that labelled it.
    """
    close = panel.view("close")
    with np.errstate(invalid="ignore"):
        up = np.sign(close[1:] / close[:-1] - 1)
    good = np.full(panel.shape, np.nan)
    noise = np.random.default_rng(0).standard_normal(up.shape)
    stop = len(good) - 1
    good[1 - bars_early : 1 - bars_early + stop] = 0.5 + strength * up + 0.3 * noise
    return panel.replace(fields={**panel.fields, "good": good})


def tone(frame):
    return frame["good"]


def tables_of_news(news):
    """Return headlines with the close that labels them as the event: known at their date, and a day after it."""
    date = pd.to_datetime(news["date"])
    answered = date + pd.Timedelta(hours=21)  # the close in New York, in UTC
    table = pd.DataFrame({"event_time": answered, "known_at": date})
    return table, table.assign(known_at=date + pd.Timedelta(days=1))
