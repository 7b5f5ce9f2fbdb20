"""The linear recurrence and its twins, minGRU and minLSTM against their equations, and what such cells cannot know."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rungs import (
    check_batch_equals_one_by_one,
    check_gradients,
    check_neighbours_and_future,
    check_round_trip,
    check_same_seed_same_bits,
)
from torch import nn

from hitherto.errors import ConfigError
from hitherto.models.layers import draw
from hitherto.models.recurrent import LSTM
from hitherto.models.scan import MinGRU, MinLSTM, Rows, doubling, scan, states
from hitherto.seeds import Stream
from hitherto.train.optimiser import AdamW

FEW = {"hidden": 8, "lookback": 6, "epochs": 2, "batch": 60, "learning_rate": 0.01}
MODELS = [MinGRU(**FEW), MinGRU(layers=2, dropout=0.2, **FEW), MinLSTM(**FEW), MinLSTM(layers=2, dropout=0.2, **FEW)]
each = pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m.name}-{m.layers}")


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=Stream(seed, "scan").torch(), dtype=dtype)


def by_rows(a, b):
    """The recurrence as it is written, in NumPy."""
    h = np.zeros_like(b)
    for t in range(len(b)):
        h[t] = b[t] if t == 0 else a[t] * h[t - 1] + b[t]
    return h


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0, 1.3]))
def test_both_scans_equal_the_recurrence(L, B, seed, size):
    a, b = size * normal(L, B, 3, seed=seed).clamp(-1, 1), normal(L, B, 3, seed=seed + 1)
    want = by_rows(a.numpy(), b.numpy())
    tolerance = 1e-12 * np.abs(want).max()
    assert np.abs(scan(a, b).numpy() - want).max() <= tolerance
    assert np.abs(doubling(a, b).numpy() - want).max() <= tolerance


def test_the_scan_equals_the_loop_over_4096_rows_in_float32():
    for seed, pull in enumerate((-6.0, -2.0, 0.0)):  # memories of about 400, 8 and 2 rows
        take = (normal(4096, 2, 8, seed=seed, dtype=torch.float32) + pull).sigmoid()
        a, b = 1 - take, take * normal(4096, 2, 8, seed=seed + 9, dtype=torch.float32)
        exact = by_rows(a.double().numpy(), b.double().numpy())
        assert np.abs(exact).max() > 0.05
        for way in (Rows.apply, doubling):
            assert np.abs(way(a, b).numpy() - exact).max() < 1e-5
        assert (Rows.apply(a, b) - doubling(a, b)).abs().max() < 1e-5


@pytest.mark.parametrize("L", [1, 2, 7])
def test_the_adjoint_is_exact(L):
    a, b = normal(L, 2, 3).requires_grad_(), normal(L, 2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(Rows.apply, (a, b))
    assert torch.autograd.gradcheck(doubling, (a, b))
    wanted = normal(L, 2, 3, seed=2)
    ways = (Rows.apply, doubling)
    mine, twin = (torch.autograd.grad((way(a, b) * wanted).sum(), (a, b), allow_unused=True) for way in ways)
    assert torch.allclose(mine[1], twin[1], rtol=0, atol=1e-12)
    if L > 1:
        assert torch.allclose(mine[0], twin[0], rtol=0, atol=1e-12)
    assert not mine[0][0].any()  # there is no state before the first row


def test_the_scan_takes_strided_parts_and_leaves_them_alone():
    both = normal(9, 4, 6)
    a, b = both.chunk(2, dim=-1)
    before = both.clone()
    assert torch.equal(scan(a, b), scan(a.contiguous(), b.contiguous()))
    assert torch.equal(both, before)
    gradient = normal(9, 4, 3, seed=1)
    kept = gradient.clone()
    b = b.detach().requires_grad_()
    scan(a, b).backward(gradient)
    assert torch.equal(gradient, kept)


def test_a_wrong_adjoint_is_caught():
    class Wrong(Rows):
        @staticmethod
        def backward(ctx, *grads):
            return torch.zeros_like(grads[0]), grads[0]

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(Wrong.apply, (normal(3, 2).requires_grad_(), normal(3, 2, seed=1).requires_grad_()))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def equations(weights, x, parts, layers):
    """MinGRU (parts = 2) and minLSTM (3) as in Feng et al. 2024, float64: the states of the top layer and the head."""
    w = {k: v.numpy() for k, v in weights.items()}
    for k in range(layers):
        maps = np.split(w[f"cells.{k}.weight"], parts), np.split(w[f"cells.{k}.bias"], parts)
        h, out = np.zeros((x.shape[1], len(maps[0][0]))), []
        for row in x:
            *gates, c = (row @ m.T + bias for m, bias in zip(*maps, strict=True))
            if parts == 2:
                z = sigmoid(gates[0])
                h = (1 - z) * h + z * c
            else:
                f, i = sigmoid(gates[0]), sigmoid(gates[1])
                h = f / (f + i) * h + i / (f + i) * c
            out.append(h)
        x = np.stack(out)
    return x[-1] @ w["head.weight"].T + w["head.bias"]


@pytest.mark.parametrize(("kind", "parts"), [(MinGRU, 2), (MinLSTM, 3)])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_nets_equal_their_equations(kind, parts, layers):
    net = kind(hidden=5, layers=layers).make(3, 2, Stream(0)).double()
    x = 3 * normal(12, 4, 3)
    want = equations(net.state_dict(), x.numpy(), parts, layers)
    assert np.abs(net(x, None).detach().numpy() - want).max() < 1e-12


def test_gates_far_out_still_give_numbers():
    far, c = torch.full((3, 1, 2), -200.0), torch.ones(3, 1, 2)
    assert torch.equal(states((far, far, c))[:, 0, 0], torch.tensor([0.5, 0.75, 0.875]))  # f = i = 0 in float32: a half
    assert torch.equal(states((-far, far, c)), torch.zeros(3, 1, 2))
    assert torch.equal(states((far, -far, c)), c)
    far.requires_grad_()
    (slope,) = torch.autograd.grad(states((far, far, c)).sum(), far)
    assert torch.isfinite(slope).all()


@given(st.integers(0, 1000), st.sampled_from([2, 3]))
def test_a_state_lies_between_the_candidates_so_far_and_zero(seed, parts):
    maps = tuple(4 * normal(9, 2, 3, seed=seed + k) for k in range(parts))
    h, c = states(maps), maps[-1]
    zero = torch.zeros_like(c[:1])
    highest, lowest = torch.cat([zero, c]).cummax(0)[0][1:], torch.cat([zero, c]).cummin(0)[0][1:]
    assert bool((h <= highest + 1e-12).all())
    assert bool((h >= lowest - 1e-12).all())


@each
def test_gradients(model):
    check_gradients(model.build(3, 2), normal(6, 2, 3))


@each
def test_batch_equals_one_by_one(model):
    check_batch_equals_one_by_one(model)


@each
def test_neighbours_and_future(model):
    check_neighbours_and_future(model)


@each
def test_same_seed_same_bits(model):
    check_same_seed_same_bits(model)


@each
def test_round_trip(model):
    check_round_trip(model)


def test_noise_comes_between_layers_and_before_the_head():
    x = normal(6, 4, 3, dtype=torch.float32)
    for layers in (1, 2):
        net = MinGRU(hidden=8, layers=layers, dropout=0.5).make(3, 1, Stream(0))
        quiet = net(x, None)
        assert torch.equal(quiet, net(x, None))
        assert torch.equal(net(x, Stream(1).torch()), net(x, Stream(1).torch()))
        assert not torch.equal(net(x, Stream(1).torch()), net(x, Stream(2).torch()))
        drawn = Stream(1).torch()
        net(x, drawn)
        # what is left of the stream tells how many masks were drawn: (L, B, H) between layers, (B, H) before the head
        counted = Stream(1).torch()
        for shape in [(6, 4, 8)] * (layers - 1) + [(4, 8)]:
            torch.rand(shape, generator=counted)
        assert torch.equal(drawn.get_state(), counted.get_state())


class Steps(nn.Module):
    """A cell with a linear head on every row: x (L, B, F) -> (L, B, 1)."""

    def __init__(self, net, cell):
        super().__init__()
        self.net, self.cell = net, cell

    def forward(self, x):
        if self.cell == "lstm":
            return self.net.head(self.net.lstm(x)[0])
        for layer in self.net.cells:
            x = states(layer(x).chunk(2, dim=-1))
        return self.net.head(x)


def parity(net, name, steps):
    """Train ``net`` on the running parity of 10 bits; return its accuracy on rows 1..10 and 21..40 of new ones."""
    g = Stream(0, name).torch()
    draw(net, g)
    weights = list(net.parameters())
    adam = AdamW(weights, 0.0)

    def bits(L, B):
        x = torch.randint(0, 2, (L, B, 1), generator=g).float()
        return x, x.cumsum(0) % 2

    for _ in range(steps):
        x, y = bits(10, 64)
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
        adam.step(torch.autograd.grad(loss, weights), 0.02)
    with torch.no_grad():
        x, y = bits(40, 500)
        right = ((net(x) > 0) == (y > 0)).double().mean((1, 2))
    return float(right[:10].mean()), float(right[20:].mean())


def test_parity_separates_the_lstm_from_the_mingru():
    lstm = Steps(LSTM(hidden=16).make(1, 1, Stream(0)), "lstm")
    assert min(parity(lstm, "lstm", 300)) > 0.99
    mingru = Steps(MinGRU(hidden=32, layers=2).make(1, 1, Stream(0)), "mingru")
    near, far = parity(mingru, "mingru", 600)
    assert near > 0.7  # it learns the patterns of the lengths that it was shown,
    # but no rule: beyond them it guesses. 10,000 guesses: standard error 0.005 (0.022 if a column's rows were all one)
    assert abs(far - 0.5) < 0.1


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (MinGRU, {"hidden": 0}, "mingru: hidden must be a whole number >= 1, got 0."),
        (MinGRU, {"layers": 0}, "mingru: layers must be a whole number >= 1, got 0."),
        (MinLSTM, {"hidden": -3}, "minlstm: hidden must be a whole number >= 1, got -3."),
        (MinLSTM, {"layers": 0}, "minlstm: layers must be a whole number >= 1, got 0."),
        (MinLSTM, {"dropout": 1.0}, "minlstm: dropout must lie in [0, 1), got 1.0."),
    ],
)
def test_settings_messages(kind, change, message):
    with pytest.raises(ConfigError) as error:
        kind(**change)
    assert str(error.value) == message


@pytest.mark.gpu
def test_an_accelerator_gives_the_same_numbers():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    for kind in (MinGRU, MinLSTM):
        net = kind(hidden=16, layers=2).make(5, 2, Stream(0))
        x = normal(20, 32, 5, dtype=torch.float32)
        here = net(x, None)
        here.square().sum().backward()
        want = {k: p.grad.clone() for k, p in net.named_parameters()}
        net.zero_grad()
        there = net.cuda()(x.cuda(), None)
        there.square().sum().backward()
        assert (there.cpu() - here).abs().max() < 1e-5
        for k, p in net.named_parameters():
            assert (p.grad.cpu() - want[k]).abs().max() <= 1e-4 * want[k].abs().max()
