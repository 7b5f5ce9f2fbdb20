import dataclasses

import numpy as np
import pytest
import torch
from rungs import (
    check_batch_equals_one_by_one,
    check_gradients,
    check_neighbours_and_future,
    check_round_trip,
    check_same_seed_same_bits,
)

from hitherto.errors import ConfigError
from hitherto.models.conv_lstm import ConvLSTM
from hitherto.models.recurrent import LSTM
from hitherto.seeds import Stream

COMMON = {"lookback": 8, "epochs": 2, "batch": 64}
MODELS = (
    ConvLSTM(channels=6, hidden=8, dense=(5,), dropout=0.2, **COMMON),
    ConvLSTM(channels=4, kernel=1, hidden=4, dense=(), **COMMON),
    LSTM(hidden=8, layers=4, dropout=0.1, **COMMON),
)


@pytest.mark.parametrize("model", MODELS, ids=["conv", "plain conv", "deep"])
class TestRung:
    def test_batch_equals_one_by_one(self, model):
        check_batch_equals_one_by_one(model)

    def test_neighbours_and_future(self, model):
        check_neighbours_and_future(model)

    def test_same_seed_same_bits(self, model):
        check_same_seed_same_bits(model)

    def test_round_trip(self, model):
        check_round_trip(model)

    def test_gradients(self, model):
        small = dataclasses.replace(model, dropout=0.0)
        check_gradients(small.make(2, 1, Stream(0)).double(), torch.randn(4, 3, 2, dtype=torch.float64))


@pytest.mark.parametrize("kernel", [1, 2, 5])
def test_the_convolution_equals_torch_and_reads_no_later_row(kernel):
    net = ConvLSTM(channels=6, kernel=kernel, hidden=4).make(3, 1, Stream(1))
    x = torch.randn(9, 4, 3, generator=Stream(2).torch("x"))
    seen = []
    net.lstm.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    net(x)
    weight = torch.stack([layer.weight for layer in reversed(net.conv)], dim=2)  # (channels, F, kernel), oldest first
    padded = torch.nn.functional.pad(x.permute(1, 2, 0), (kernel - 1, 0))
    expected = torch.nn.functional.conv1d(padded, weight, net.conv[0].bias).relu().permute(2, 0, 1)
    assert torch.allclose(seen[0], expected, atol=1e-6)
    later = x.clone()
    later[5:] += 1.0
    net(later)
    assert torch.equal(seen[1][:5], seen[0][:5])
    assert not torch.equal(seen[1][5:], seen[0][5:])


def test_a_kernel_longer_than_the_window():
    net = ConvLSTM(channels=6, kernel=7, hidden=4).make(3, 2, Stream(1))
    assert np.isfinite(net(torch.zeros(3, 5, 3)).detach().numpy()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": 0}, "conv_lstm: kernel must be a whole number >= 1, got 0."),
        ({"channels": 0}, "conv_lstm: channels must be a whole number >= 1, got 0."),
        ({"dense": (8, 0)}, "conv_lstm: dense must hold whole numbers >= 1, got [8, 0]."),
    ],
)
def test_messages(change, message):
    with pytest.raises(ConfigError) as error:
        ConvLSTM(**change)
    assert str(error.value) == message
