"""Training on a GPU, one by one and stacked: it agrees with the CPU to 1e-4, and one seed gives one set of bits.

Run by ``pytest -m gpu tests/test_gpu.py`` where there is a CUDA device; the data is made here.
"""

import dataclasses

import numpy as np
import pytest
import torch

from hitherto import compute
from hitherto.features.base import Features
from hitherto.labels import Label
from hitherto.models.alstm import ALSTM
from hitherto.models.base import Context
from hitherto.models.conv_lstm import ConvLSTM
from hitherto.models.cross_stock import CrossStock
from hitherto.models.dlinear import DLinear, NLinear
from hitherto.models.ensemble import Ensemble
from hitherto.models.gated import GRU, RNN
from hitherto.models.layers import draw
from hitherto.models.mlp import MLP
from hitherto.models.recurrent import LSTM
from hitherto.models.scan import MinGRU, MinLSTM
from hitherto.models.targets import date_standardise
from hitherto.models.tcn import TCN
from hitherto.models.transformer import Transformer
from hitherto.seeds import Stream
from hitherto.train import loop, pieces, stacked, stacked_fit
from hitherto.train.together import each_on_one
from hitherto.windows import Windows

DEVICE = "cuda"
NAMES = 12
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
]

# 60 samples a batch are one piece on the CPU as on the GPU, so that both draw the same dropout.
DRY = {"lookback": 8, "epochs": 3, "batch": 5 * NAMES, "patience": 3}
SAME = {**DRY, "dropout": 0.2}
NETS = [
    NLinear(**DRY), DLinear(**DRY), MLP(hidden=(16, 8), **SAME), RNN(hidden=8, **SAME), GRU(hidden=8, **SAME),
    LSTM(hidden=8, layers=2, **SAME), ConvLSTM(channels=4, hidden=8, dense=(4,), **SAME), MinGRU(hidden=8, **SAME),
    MinLSTM(hidden=8, **SAME), TCN(channels=(8, 8), **SAME), ALSTM(hidden=8, **SAME),
    Transformer(hidden=8, heads=2, layers=2, feedforward=16, **SAME),
    CrossStock(hidden=8, heads=2, feedforward=16, **SAME),
]  # fmt: skip
every_net = pytest.mark.parametrize("model", NETS, ids=lambda m: m.name)


@pytest.fixture(scope="module")
def windows():
    """(train, valid, test): the label is a feature of three rows ago, and noise."""
    rng, T = np.random.default_rng(0), 70
    x = rng.standard_normal((T, NAMES, 3), dtype=np.float32)
    y = rng.standard_normal((T, NAMES, 2))
    y[3:] += x[:-3, :, :1]
    t = np.broadcast_to(np.arange(T, dtype=np.int32)[:, None, None], y.shape)
    label = Label(y, t + 1, t + 2, ("a", "b"), (1, 2))
    row = np.arange(T)[:, None] + np.zeros(NAMES, int)
    train = Windows(Features(x, ("f0", "f1", "f2"), (1, 1, 1)), label, row < 50, 8)
    return train, train.with_(mask=(row >= 50) & (row < 60)), train.with_(mask=row >= 60, labelled=False)


def fit(model, windows, device, **context):
    return model.fit(*windows[:2], rng=Stream(1), context=Context(device=device, **context))


def same_bits(a, b):
    x, y = a.tensors(), b.tensors()
    return x.keys() == y.keys() and all(x[k].tobytes() == y[k].tobytes() for k in x)


def test_the_device_is_seen():
    assert compute.choose_device("auto") == DEVICE
    assert compute.choose_device(DEVICE) == DEVICE


@every_net
def test_predictions_agree_with_the_cpu(model, windows):
    """The same weights on both; 1e-4 of outputs of order 1 is far above float32 (1e-6) and far below TF32 (1e-3)."""
    fitted = fit(model, windows, "cpu")
    there = model.load(fitted.tensors(), Context(device=DEVICE))
    assert next(there.net.parameters()).device.type == DEVICE
    here = fitted.predict(windows[2])
    assert np.abs(here).max() > 0.01
    assert np.abs(there.predict(windows[2]) - here).max() < 1e-4


@every_net
def test_training_agrees_with_the_cpu(model, windows):
    """Plain descent, whose steps move no more than their rounding; Adam divides by gradients that may be rounding."""
    model = dataclasses.replace(model, optimiser="sgd", learning_rate=0.05)
    here, there = fit(model, windows, "cpu"), fit(model, windows, DEVICE)
    assert next(there.net.parameters()).device.type == DEVICE
    for a, b in zip(here.history.epochs, there.history.epochs, strict=True):
        assert np.isclose(a["train_loss"], b["train_loss"], rtol=1e-4)
        assert np.isclose(a["valid_loss"], b["valid_loss"], rtol=1e-4)
    assert here.history.epochs[0]["train_loss"] > here.history.epochs[-1]["train_loss"]
    assert np.abs(here.predict(windows[2]) - there.predict(windows[2])).max() < 1e-4


@pytest.mark.parametrize("loss", ["mae", "huber", "ic", "rank", "quantile", "cross_entropy"])
def test_every_loss_agrees_with_the_cpu(loss, windows):
    """No dropout: on the CPU a loss that couples the names of a date is taken date by date, each with its own noise."""
    rest = {"target": "cs_rank"} if loss == "cross_entropy" else {}
    model = GRU(hidden=8, loss=loss, optimiser="sgd", learning_rate=0.05, **DRY, **rest)
    here, there = fit(model, windows, "cpu"), fit(model, windows, DEVICE)
    assert np.isclose(here.history.epochs[-1]["valid_loss"], there.history.epochs[-1]["valid_loss"], rtol=1e-4)
    assert np.abs(here.predict(windows[2]) - there.predict(windows[2])).max() < 1e-4


@every_net
def test_the_same_seed_gives_the_same_bits(model, windows):
    first, second = fit(model, windows, DEVICE), fit(model, windows, DEVICE)
    assert same_bits(first, second)
    assert first.predict(windows[2]).tobytes() == second.predict(windows[2]).tobytes()
    assert first.predict(windows[2]).tobytes() == first.predict(windows[2]).tobytes()
    other = model.fit(*windows[:2], rng=Stream(2), context=Context(device=DEVICE))
    assert not same_bits(first, other)


def test_an_ensemble_is_the_mean_of_its_members(windows):
    model = Ensemble(of=GRU(hidden=8, **SAME), members=2)
    streams = [Stream(1).child("member", i) for i in (0, 1)]
    members = [model.of.fit(*windows[:2], rng=rng, context=Context(device=DEVICE)) for rng in streams]
    mean = np.mean([m.predict(windows[2]) for m in members], axis=0)
    assert np.abs(fit(model, windows, DEVICE).predict(windows[2]) - mean).max() < 1e-12


def test_fits_side_by_side_are_those_one_by_one(windows):
    model = LSTM(hidden=8, **SAME)

    def run(seed, check):
        return model.fit(*windows[:2], rng=Stream(seed), context=Context(device=DEVICE))

    beside = each_on_one(run, range(4), threads=2)
    assert all(same_bits(run(seed, None), fitted) for seed, fitted in enumerate(beside))
    assert not same_bits(beside[0], beside[1])


STACKED = [
    LSTM(hidden=8, layers=2, **SAME), GRU(hidden=8, **SAME), MLP(hidden=(16, 8), **DRY), TCN(channels=(8, 8), **DRY),
]  # fmt: skip


def jobs(model, windows):
    """Four fits of one architecture: two seeds, another rate, a shorter stretch (fewer steps than the others)."""
    train, valid, _ = windows
    late = np.zeros_like(train.mask)
    late[30:] = True
    plan = [
        (1, 0.05, train), (2, 0.05, train), (1, 0.02, train), (1, 0.05, train.with_(mask=train.mask & late)),
    ]  # fmt: skip
    out = []
    for seed, rate, part in plan:
        net = model.build(part.width, part.outputs)
        draw(net, Stream(seed).torch("init"))
        settings = dataclasses.replace(model, optimiser="sgd", learning_rate=rate)
        out.append(stacked_fit.Job(net, part, valid, settings, Stream(seed), standardise))
    return out


def standardise(y, blocks):
    return date_standardise(y, blocks, "cs_zscore")


stacks = pytest.mark.parametrize("model", STACKED, ids=lambda m: m.name)


@stacks
def test_stacked_training_agrees_with_one_by_one_on_the_cpu(model, windows):
    """One of them has fewer batches an epoch, and is masked while the others go on: to 1e-4 on every weight."""
    alone, together = jobs(model, windows), jobs(model, windows)
    assert stacked.can_stack(together) == ""
    histories = stacked.fit_stacked(together, device=DEVICE)
    for one, other, history in zip(alone, together, histories, strict=True):
        rest = {"rng": one.rng, "context": Context(), "target": one.target}
        expected = loop.fit(one.net, one.train, one.valid, one.settings, **rest)
        assert history.best_epoch == expected.best_epoch
        assert len(history.epochs) == len(expected.epochs)
        assert np.isclose(history.best_loss, expected.best_loss, rtol=1e-4)
        assert next(other.net.parameters()).device.type == DEVICE
        for (name, a), b in zip(one.net.named_parameters(), other.net.parameters(), strict=True):
            assert torch.allclose(a, b.cpu(), rtol=0, atol=1e-4), name
    pairs = zip(together[0].net.parameters(), together[1].net.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@stacks
def test_stacked_training_gives_the_same_bits_again(model, windows):
    runs = [jobs(model, windows), jobs(model, windows)]
    for run in runs:
        stacked.fit_stacked(run, device=DEVICE)
    for a, b in zip(*runs, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a.net.parameters(), b.net.parameters(), strict=True))


@stacks
def test_stacked_predictions_agree_with_the_cpu(model, windows):
    nets = [job.net.eval() for job in jobs(model, windows)]
    here = [pieces.predict(net, windows[2]) for net in nets]
    there = stacked.predict_stacked(nets, [windows[2]] * len(nets), device=DEVICE)
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(here, there, strict=True))
    assert np.abs(here[0] - here[1]).max() > 1e-2


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_resumed_run_ends_in_the_same_bits(optimiser, windows, tmp_path):
    model = LSTM(hidden=8, optimiser=optimiser, **SAME)
    straight = fit(model, windows, DEVICE)

    def stop(event):
        if event["event"] == "epoch" and event["epoch"] == 1:
            raise StopHereError

    with pytest.raises(StopHereError):
        fit(model, windows, DEVICE, folder=tmp_path, emit=stop)
    events = []
    resumed = fit(model, windows, DEVICE, folder=tmp_path, resume=True, emit=events.append)
    assert [e["event"] for e in events if e["event"] in ("resume", "epoch")] == ["resume", "epoch", "epoch"]
    assert same_bits(straight, resumed)
