"""Resume equals uninterrupted, bit for bit: 24 combinations of model, optimiser and dropout, stopped in mid-epoch."""

import dataclasses

import numpy as np
import pytest
import torch
from kill_child import digest, made_windows

from hitherto.models.alstm import ALSTM
from hitherto.models.base import Context
from hitherto.models.cross_stock import CrossStock
from hitherto.models.gated import GRU
from hitherto.models.mlp import MLP
from hitherto.models.recurrent import LSTM
from hitherto.models.tcn import TCN
from hitherto.seeds import Stream
from hitherto.train import loop, ring

COMMON = {"lookback": 5, "epochs": 3, "batch": 60, "learning_rate": 0.01, "patience": 2}
MODELS = (
    LSTM(hidden=6, layers=2, **COMMON),
    GRU(hidden=6, **COMMON),
    MLP(**COMMON),
    TCN(channels=(6, 6), **COMMON),
    ALSTM(hidden=6, **COMMON),
    CrossStock(hidden=8, **COMMON),
)


class _StoppedError(Exception):
    pass


def stopped_after(saves, monkeypatch):
    """Let ``saves`` checkpoints be written, then stop as a kill would."""
    save, count = loop.checkpoint.save, 0

    def counted(*arguments):
        nonlocal count
        save(*arguments)
        count += 1
        if count == saves:
            raise _StoppedError

    monkeypatch.setattr(loop.checkpoint, "save", counted)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_resume_equals_uninterrupted(model, optimiser, dropout, tmp_path, monkeypatch):
    train, valid = made_windows()
    model = dataclasses.replace(model, optimiser=optimiser, dropout=dropout, schedule="plateau", halve_every=1)
    whole = model.fit(train, valid, rng=Stream(5), context=Context())
    with monkeypatch.context() as patch:
        stopped_after(5, patch)
        with pytest.raises(_StoppedError):
            model.fit(train, valid, rng=Stream(5), context=Context(folder=tmp_path), every=loop.Every(steps=1))
    events = []
    context = Context(folder=tmp_path, resume=True, emit=events.append)
    resumed = model.fit(train, valid, rng=Stream(5), context=context, every=loop.Every(steps=1))
    assert events[0]["event"] == "resume"
    assert digest(resumed) == digest(whole)
    assert np.array_equal(resumed.predict(valid), whole.predict(valid))


def test_the_ring_of_states_survives_a_resume(tmp_path, monkeypatch):
    """An explosion after the resume goes back to the same state of the ring as one without."""
    monkeypatch.setattr(ring, "EVERY", 2)
    monkeypatch.setattr(loop, "EVERY", 2)
    train, valid = made_windows(T=60)
    model = LSTM(hidden=6, **{**COMMON, "batch": 24, "epochs": 2})

    def spoilt(at, after=0):
        """A net whose output is NaN at its ``at``-th call in training, of which ``after`` were made before."""
        net = model.make(train.width, train.outputs, Stream(5))
        forward, calls = net.forward, after

        def call(x, generator=None):
            nonlocal calls
            out = forward(x, generator)
            if generator is None:
                return out
            calls += 1
            return out * float("nan") if calls == at else out

        net.forward = call
        return net

    def run(net, folder, resume=False):
        return loop.fit(
            net, train, valid, model, rng=Stream(5), target=lambda y, blocks: y, every=loop.Every(steps=1),
            context=Context(folder=folder, resume=resume),
        )  # fmt: skip

    steps = len(list(train.batches(24)))
    at = steps + 8
    net = spoilt(at)
    history = run(net, tmp_path / "whole")
    assert history.rollbacks == 1
    other = spoilt(at)
    with monkeypatch.context() as patch:
        stopped_after(at - 1 + 1 - 2, patch)  # one save per step, one per epoch; two steps before the explosion
        with pytest.raises(_StoppedError):
            run(other, tmp_path / "part")
    third = spoilt(at, after=at - 3)
    assert run(third, tmp_path / "part", resume=True) == history
    assert all(torch.equal(v, third.state_dict()[k]) for k, v in net.state_dict().items())


def test_a_second_explosion_goes_further_back():
    states = ring.Ring()
    states.restart({"w": torch.zeros(1)}, {"step": 0})
    for step in (64, 128, 192):
        states.push({"w": torch.full((1,), float(step))}, {"step": step})
    assert [w["step"] for w in states.where] == [0, 128, 192]
    assert [states.pop()[1]["step"] for _ in range(4)] == [192, 128, 0, 0]


def test_what_counts_as_an_explosion():
    assert ring.exploded(float("nan"), 1.0, [])
    assert ring.exploded(1.1e4, 1.0, [])
    assert not ring.exploded(9e3, 1.0, [1.0] * 19)  # too few losses for a median
    assert ring.exploded(101.0, 1.0, [1.0] * 10 + [50.0] * 9 + [1.0])
    assert not ring.exploded(99.0, 1.0, [1.0] * 20)
    assert not ring.exploded(30.0, 0.0, [0.0] * 20)


class _Clock:
    """A clock that moves on by ``second`` at every look."""

    def __init__(self, second):
        self.now, self.second = 0.0, second

    def __call__(self):
        self.now += self.second
        return self.now


def test_a_budget_is_asked_between_epochs_only(tmp_path, monkeypatch):
    """A kill in the middle of the first epoch, more than half of the budget spent, must not end the fit on resume."""
    train, valid = made_windows()
    model = LSTM(hidden=6, **{**COMMON, "epochs": 30, "patience": 30}, cpu_seconds=100.0)

    def run(folder, resume=False):
        monkeypatch.setattr(loop.time, "thread_time", _Clock(15.0))  # a look per save, at each end of an epoch
        context = Context(folder=folder, resume=resume)
        return model.fit(train, valid, rng=Stream(5), context=context, every=loop.Every(steps=1)).history

    steps = len(list(train.batches(60)))
    with monkeypatch.context() as patch:
        stopped_after(steps - 1, patch)
        with pytest.raises(_StoppedError):
            run(tmp_path / "part")
    history = run(tmp_path / "part", resume=True)
    assert len(history.epochs) >= 1
    assert history.stopped.startswith("another epoch would pass the budget of 100 CPU seconds (")
    assert run(tmp_path / "whole").epochs[0] == history.epochs[0]
