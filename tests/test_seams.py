"""The seams: every dataclass and protocol with a trivial implementation, flowing end to end."""

from dataclasses import dataclass

import numpy as np
import pytest
from toys import make_panel

from hitherto.errors import FutureError
from hitherto.exchange.account import Book, Fills
from hitherto.features.base import Features
from hitherto.generate.base import Generator, Paths
from hitherto.labels import forward_return
from hitherto.models.base import Context, Encoder, Forecaster, to_forecast
from hitherto.policy.base import Policy, PolicyState
from hitherto.portfolio.base import Weights
from hitherto.seeds import Stream
from hitherto.split import WalkForward
from hitherto.windows import Missing, Windows


@dataclass
class LastReturn:
    """unit="asset": the last feature is the forecast."""

    name: str = "last"
    unit: str = "asset"
    lookback: int = 3

    def fit(self, train, valid, *, rng, context):
        return self

    def predict(self, windows):
        parts = [np.repeat(b.x[-1, :, :1], windows.outputs, axis=1) for b in windows.batches(64)]
        return np.concatenate(parts).astype(np.float64)

    def tensors(self):
        return {}


@dataclass
class DateMean(LastReturn):
    """unit="date": a stock against the mean of its date; a date is never split over batches."""

    name: str = "against_the_date"
    unit: str = "date"

    def predict(self, windows):
        out = []
        for b in windows.batches(7):
            for i, j in zip(b.blocks[:-1], b.blocks[1:], strict=True):
                x = b.x[-1, i:j, :1]
                out.append(np.repeat(x - x.mean(), windows.outputs, axis=1))
        return np.concatenate(out).astype(np.float64)


@dataclass
class LinearAutoencoder:
    """An encoder without labels: the leading right singular vectors of the train windows."""

    name: str = "pca"
    unit: str = "asset"
    lookback: int = 3
    size: int = 2

    def fit(self, train, *, rng, context):
        rows = np.concatenate([b.x.transpose(1, 0, 2).reshape(len(b.t), -1) for b in train.batches(256)])
        self.axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][: self.size]
        return self

    def encode(self, windows):
        return np.concatenate(
            [b.x.transpose(1, 0, 2).reshape(len(b.t), -1) @ self.axes.T for b in windows.batches(256)]
        )


@dataclass
class BagOfTokens:
    """A token-input encoder: counts of ids over the window."""

    name: str = "bag"
    unit: str = "asset"
    lookback: int = 2
    size: int = 8

    def fit(self, train, *, rng, context):
        return self

    def encode(self, windows):
        out = []
        for b in windows.batches(64):
            assert np.issubdtype(b.x.dtype, np.integer)
            one_hot = b.x[..., None] == np.arange(1, self.size)
            out.append(one_hot.sum(axis=(0, 2)))
        return np.concatenate(out).astype(np.float32)


@dataclass
class Resample:
    history: np.ndarray
    symbols: tuple
    until: int

    def sample(self, rng, n):
        T = len(self.history)
        return Paths(self.history[rng.integers(0, T, (n, T))], self.symbols, self.until)


class EqualWeight:
    def act(self, state):
        m = state.mask.astype(float)
        return m / np.maximum(m.sum(axis=1, keepdims=True), 1)


def pieces(panel):
    close = panel.view("close")
    r = np.full(panel.shape, np.nan)
    r[1:] = close[1:] / close[:-1] - 1
    features = Features(np.stack([r, r * r], axis=2).astype(np.float32), ("r", "r2"), (2, 2), ("close",))
    return features, forward_return(panel, (1, 5), "next_close")


def flow(panel, model):
    features, label = pieces(panel)
    parts = []
    for fold in WalkForward(train=20, valid=8, test=10, folds=2).split(label, panel.universe, model.lookback):
        whole = Windows(features, label, fold.train, model.lookback)
        fitted = model.fit(whole, whole.with_(mask=fold.valid), rng=Stream(0), context=Context())
        test = whole.with_(mask=fold.test, labelled=False)
        parts.append((fold.index, test, fitted.predict(test)))
    return label, to_forecast(model.name, parts, panel.shape, label.names)


@pytest.mark.parametrize("model", [LastReturn(), DateMean()])
def test_forecasters_flow_to_a_book(model):
    panel = make_panel(T=70, N=6)
    assert isinstance(model, Forecaster)
    _, forecast = flow(panel, model)
    decided = forecast.fold >= 0
    assert decided.sum() == 20
    assert np.isfinite(forecast.values[decided]).all()
    assert np.isnan(forecast.values[~decided]).all()
    top = forecast.values[..., 0] == np.nanmax(np.where(decided[:, None], forecast.values[..., 0], 0), axis=1)[:, None]
    weights = Weights("best", np.where(decided[:, None] & top, 1.0, 0.0), decided)
    assert np.allclose(weights.values[decided].sum(1), 1)
    none = np.zeros(0)
    ones = np.ones(3)
    fills = Fills(*[none.astype(np.int32)] * 3, *[none] * 8, none.astype(np.uint8))
    book = Book("flat", 0, ones, ones, np.zeros((3, 6)), np.ones((3, 6)), 0 * ones, 0 * ones, 0 * ones, 0 * ones, fills)
    assert np.array_equal(book.returns, [0, 0])


def test_a_date_unit_is_never_split():
    panel = make_panel(T=70, N=6)
    features, label = pieces(panel)
    windows = Windows(features, label, panel.universe, 3)
    for batch in windows.batches(7, np.random.default_rng(0)):
        for i, j in zip(batch.blocks[:-1], batch.blocks[1:], strict=True):
            assert len(set(batch.t[i:j])) == 1
            assert j - i == 6


def test_encoders_fit_the_seam():
    panel = make_panel(T=40, N=4)
    features, _ = pieces(panel)
    windows = Windows(features, None, panel.universe, 3, labelled=False)
    auto = LinearAutoencoder()
    assert isinstance(auto, Encoder)
    codes = auto.fit(windows, rng=Stream(0), context=Context()).encode(windows)
    assert codes.shape == (len(windows), 2)
    tokens = Features(np.random.default_rng(0).integers(0, 8, (40, 4, 5)).astype(np.int32), tuple("abcde"), (1,) * 5)
    text = Windows(tokens, None, panel.universe, 2, labelled=False, missing=Missing(max_share=1.0))
    bag = BagOfTokens()
    assert isinstance(bag, Encoder)
    counts = bag.fit(text, rng=Stream(0), context=Context()).encode(text)
    assert counts.shape == (len(text), 7)
    t, n = text.index[5]
    assert counts[5].sum() == (tokens.values[t - 1 : t + 1, n] > 0).sum()


def test_generator_and_policy_fit_the_seam():
    panel = make_panel(T=30, N=3)
    close = panel.view("close")
    generator = Resample(close[1:] / close[:-1] - 1, panel.symbols, int(panel.times[-1]))
    assert isinstance(generator, Generator)
    paths = generator.sample(np.random.default_rng(0), 4)
    assert paths.returns.shape == (4, 29, 3)
    policy = EqualWeight()
    assert isinstance(policy, Policy)
    mask = np.array([[True, True, False]])
    state = PolicyState(3, np.zeros((1, 3, 2), np.float32), np.zeros((1, 3)), np.ones(1), mask)
    assert np.allclose(policy.act(state), [[0.5, 0.5, 0]])


def test_the_panel_refuses_the_future():
    panel = make_panel(T=30, N=3)
    assert panel.until(4).view("close").shape == (5, 3)
    with pytest.raises(ValueError, match="read-only"):
        panel.until(4).view("close")[0, 0] = 1
    with pytest.raises(FutureError, match=r"the panel knows rows 0\.\.29"):
        panel.until(30)
    with pytest.raises(FutureError, match="use lag >= 0"):
        panel.asof(panel, lag=-1)
