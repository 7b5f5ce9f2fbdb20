"""Dates in the loop: a date net is given one whole date, a date loss one date at a time, unknown labels no weight."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch
from kill_child import made_windows

from hitherto.compute import Workers
from hitherto.errors import DataError
from hitherto.models.base import Context
from hitherto.models.net import Net
from hitherto.models.recurrent import LSTM, LastStep
from hitherto.seeds import Stream
from hitherto.train.pieces import Cutter

SMALL = {"lookback": 5, "epochs": 2, "batch": 40, "learning_rate": 0.01}


class Against(torch.nn.Module):
    """A name against the mean of its date; notes the number of names it was given in training."""

    def __init__(self, width, columns):
        super().__init__()
        self.head = torch.nn.Linear(width, columns)
        self.seen = []

    def forward(self, x, generator=None):
        if generator is not None:
            self.seen.append(x.shape[1])
        return self.head(x[-1] - x[-1].mean(dim=0))


@dataclasses.dataclass(frozen=True)
class AgainstTheDate(Net):
    name: str = "against"
    unit: ClassVar[str] = "date"

    def build(self, width, columns):
        return Against(width, columns)


def with_gaps():
    """Windows in which some names of most dates have no label, and some dates none at all."""
    train, valid = made_windows(T=50, N=9)
    values = train.label.values.copy()
    values[np.random.default_rng(0).random(values.shape[:2]) < 0.3] = np.nan
    values[20:22] = np.nan
    label = dataclasses.replace(train.label, values=values)
    return train.with_(label=label), valid.with_(label=label)


def test_a_date_net_is_given_every_known_name_of_one_date():
    train, valid = with_gaps()
    assert 0 < len(train) < train.mask[4:].sum()
    fitted = AgainstTheDate(**SMALL).fit(train, valid, rng=Stream(0), context=Context())
    assert set(fitted.net.seen) == {9}
    per_epoch = len(fitted.net.seen) / 2
    assert per_epoch >= len(train.offsets) - 1


def test_names_without_a_label_weigh_nothing():
    """The oracle: the loss over known entries only, its gradient by hand."""
    train, _ = with_gaps()
    model = AgainstTheDate(**{**SMALL, "epochs": 1, "batch": 10**6}, optimiser="sgd", target="raw", clip=1e9)
    none = train.with_(mask=np.zeros_like(train.mask))
    fitted = model.fit(train, none, rng=Stream(0), context=Context())
    whole = train.with_(labelled=False)
    net = model.make(train.width, train.outputs, Stream(0))
    total, count = 0.0, 0
    for d in range(len(whole.offsets) - 1):
        b = whole.gather([d])
        y = torch.from_numpy(b.y)
        known = ~torch.isnan(y)
        total = total + (net(torch.from_numpy(b.x)) - y)[known].square().sum()
        count += int(known.sum())
    assert fitted.history.epochs[0]["train_loss"] == pytest.approx(float((total / count).detach()), rel=1e-5)
    gradients = torch.autograd.grad(total / count, list(net.parameters()))
    for p, g, (name, q) in zip(net.parameters(), gradients, fitted.net.named_parameters(), strict=True):
        assert torch.allclose(p - 0.01 * g, q, atol=1e-6), name


def test_an_asset_net_still_refuses_unknown_labels():
    train, valid = with_gaps()
    fitted = LSTM(hidden=4, **SMALL).fit(train, valid, rng=Stream(0), context=Context())
    assert len(fitted.history.epochs) == 2
    broken = train.with_(label=dataclasses.replace(train.label, values=np.full_like(train.label.values, np.inf)))
    with pytest.raises(DataError):
        LSTM(hidden=4, **SMALL).fit(broken, valid, rng=Stream(0), context=Context())


@pytest.mark.parametrize("loss", ["ic", "rank"])
def test_a_date_loss_does_not_depend_on_how_a_batch_is_cut(loss):
    """Padded pieces of one date each against the whole batch at once."""
    train, _ = made_windows(T=40, N=21)
    model = LSTM(hidden=6, loss=loss, **SMALL)
    net = model.make(train.width, train.outputs, Stream(0))
    batch = train.gather([0, 3, 4])
    x = torch.from_numpy(batch.x)
    padded = Cutter(net, 5, "cpu", by_date=True, pad=True)
    pieces = padded.cut(batch.blocks)
    assert [(p.first, p.last) for p in pieces] == [(0, 21), (21, 42), (42, 63)]
    parts = torch.cat([padded.run(net, x, p, None) for p in pieces])
    assert torch.allclose(parts, net(x), atol=1e-6)
    with Workers(1) as workers:
        assert torch.allclose(padded.forward(net, x, batch.blocks, workers), net(x), atol=1e-6)
    fitted = [model.fit(train, train, rng=Stream(0), context=Context(threads=t)) for t in (1, 3)]
    assert all(np.array_equal(v, fitted[1].tensors()[k]) for k, v in fitted[0].tensors().items())


def test_pieces_cover_every_sample_once():
    net = LastStep("lstm", 3, 64, 1, 1, 0.0)
    blocks = np.array([0, 100, 350, 351])
    for by_date, pad in ((True, True), (True, False), (False, True)):
        pieces = Cutter(net, 20, "cpu", by_date=by_date, pad=pad).cut(blocks)
        assert [p.first for p in pieces] == [0, *(p.last for p in pieces[:-1])]
        assert pieces[-1].last == 351
        assert all(p.blocks[-1] == p.last - p.first for p in pieces)
    (whole,) = Cutter(net, 20, "cuda", by_date=True, pad=True).cut(blocks)
    assert np.array_equal(whole.blocks, blocks)
