"""P5: planted modules of each class in three disguises, honest look-alikes, exact reach; and the door for modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hitherto.audit import audit, made_up_panel
from hitherto.audit.modules import from_module, standardised
from hitherto.audit.probes import gradients, neighbours, rewriting
from hitherto.errors import ConfigError, DataError
from hitherto.models.alstm import ALSTM
from hitherto.models.conv_lstm import ConvLSTM
from hitherto.models.cross_stock import CrossStock
from hitherto.models.dlinear import DLinear, NLinear
from hitherto.models.gated import GRU, RNN
from hitherto.models.mlp import MLP
from hitherto.models.recurrent import LSTM
from hitherto.models.scan import MinGRU, MinLSTM
from hitherto.models.tcn import TCN
from hitherto.models.transformer import Transformer
from hitherto.seeds import Stream

CHANNELS = ("close", "volume")
T = 72
BatchNorm = nn.BatchNorm1d  # noqa: TID251  the leak that is planted here


def drawn(net, training=False):
    """Weights from a generator of its own: large enough that every path matters."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * (0.6 if p.ndim > 1 else 0.2))
    return net.train(training)


class Conv(nn.Module):
    """A stack of convolutions over time, padded by ``left`` and ``right`` before each."""

    def __init__(self, kernel, left, right, layers=1, dilation=1):
        super().__init__()
        self.pad = (left, right)
        self.layers = nn.ModuleList(nn.Conv1d(2 if i == 0 else 4, 4, kernel, dilation=dilation) for i in range(layers))
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        h = x.transpose(1, 2)
        for layer in self.layers:
            h = torch.tanh(layer(F.pad(h, self.pad)))
        return self.head(h.transpose(1, 2))[..., 0]


class Chomp(nn.Module):
    """The usual causal block: padding on both sides, the tail cut off."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=4, dilation=2)
        self.head = nn.Conv1d(4, 1, 1)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x.transpose(1, 2))[:, :, : x.shape[1]]))[:, 0]


class Same(nn.Module):
    """torch's own padding="same", behind a sequential."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 4, 5, padding="same"), nn.Tanh(), nn.Conv1d(4, 1, 3, padding="same"))

    def forward(self, x):
        return self.body(x.transpose(1, 2))[:, 0]


class Functional(nn.Module):
    """A convolution that is no layer: weights in a parameter."""

    def __init__(self, left=1, right=1):
        super().__init__()
        self.kernel, self.side = nn.Parameter(torch.zeros(1, 2, 3)), (left, right)

    def forward(self, x):
        return F.conv1d(F.pad(x.transpose(1, 2), self.side), self.kernel)[:, 0]


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.rnn = kind(2, 5, batch_first=True, **options)
        self.head = nn.Linear(10 if options.get("bidirectional") else 5, 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0])[..., 0]


class Flipped(nn.Module):
    """Reads the sequence backwards by hand."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, x):
        return self.head(self.rnn(x.flip(1))[0].flip(1))[..., 0]


class Cells(nn.Module):
    """A cell run from the end to the start, inside a larger net."""

    def __init__(self):
        super().__init__()
        self.front = nn.Linear(2, 3)
        self.back = Backwards()

    def forward(self, x):
        return self.back(self.front(x))


class Backwards(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        h, out = x.new_zeros(len(x), 4), []
        for row in x.flip(1).unbind(1):
            h = self.cell(row, h)
            out.append(self.head(h))
        return torch.stack(out[::-1], 1)[..., 0]


class Attention(nn.Module):
    """Self-attention; ``diagonal``: keys up to t + diagonal are seen, None: all."""

    def __init__(self, diagonal=0, how="plain"):
        super().__init__()
        self.diagonal, self.how = diagonal, how
        self.up = nn.Linear(2, 8)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.multi = nn.MultiheadAttention(8, 2, batch_first=True) if how == "multi" else None
        self.head = nn.Linear(8, 1)

    def hidden(self, n, like):
        if self.diagonal is None:
            return torch.zeros(n, n, dtype=torch.bool, device=like.device)
        return torch.ones(n, n, dtype=torch.bool, device=like.device).triu(self.diagonal + 1)

    def forward(self, x):
        h = self.up(x)
        hide = self.hidden(x.shape[1], x)
        if self.multi is not None:
            return self.head(self.multi(h, h, h, attn_mask=hide, need_weights=False)[0])[..., 0]
        q, k, v = self.q(h), self.k(h), self.v(h)
        if self.how == "fused":
            return self.head(F.scaled_dot_product_attention(q, k, v, attn_mask=~hide))[..., 0]
        scores = (q @ k.transpose(1, 2) / 8**0.5).masked_fill(hide, -1e9 if self.how == "finite" else float("-inf"))
        return self.head(scores.softmax(-1) @ v)[..., 0]


class Normed(nn.Module):
    """Batch normalisation over (B, F, T), or over rows (B * T, F)."""

    def __init__(self, flat=False, momentum=0.1, track=True):
        super().__init__()
        self.flat = flat
        self.up = nn.Linear(2, 4)
        self.norm = BatchNorm(4, momentum=momentum, track_running_stats=track)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        h = self.up(x)
        h = self.norm(h.flatten(0, 1)).view_as(h) if self.flat else self.norm(h.transpose(1, 2)).transpose(1, 2)
        return self.head(torch.tanh(h))[..., 0]


class Fixed(nn.Module):
    """Something done to the inputs, then a linear map."""

    def __init__(self, f):
        super().__init__()
        self.f, self.head = f, nn.Linear(2, 1)

    def forward(self, x):
        return self.head(self.f(x))[..., 0]


def unfolded(x, n=6):
    return F.pad(x, (0, 0, n - 1, 0)).unfold(1, n, 1).transpose(2, 3)  # (B, T, n, F), ends at t


class Windowed(nn.Module):
    """A bidirectional net inside a look-back window that ends at t."""

    def __init__(self, inner="lstm"):
        super().__init__()
        self.inner = inner
        self.rnn = nn.LSTM(2, 4, batch_first=True, bidirectional=True)
        self.conv = nn.Conv1d(2, 8, 3, padding=1)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        w = unfolded(x)
        flat = w.flatten(0, 1)
        h = self.rnn(flat)[0].mean(1) if self.inner == "lstm" else self.conv(flat.transpose(1, 2)).mean(2)
        return self.head(h).view(*x.shape[:2])


def revin(x):
    w = unfolded(x, 10)
    return (x - w.mean(2)) / (w.std(2) + 1e-3)


def by_fourier(x):
    """A causal moving average as a product of zero-padded spectra."""
    n = x.shape[1]
    kernel = torch.zeros(2 * n, dtype=x.dtype)
    kernel[:8] = 1 / 8
    return torch.fft.irfft(torch.fft.rfft(x, 2 * n, dim=1) * torch.fft.rfft(kernel)[:, None], 2 * n, dim=1)[:, :n]


class Turn(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class Encoder(nn.Module):
    """torch's own transformer layers; ``causal`` hands them a mask."""

    def __init__(self, causal=True):
        super().__init__()
        self.causal, self.up, self.head = causal, nn.Linear(2, 8), nn.Linear(8, 1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype) if self.causal else None
        return self.head(self.encoder(self.up(x), mask=mask))[..., 0]


def min_gru(x):
    """A gated recurrence as one scan in log space (Heinsen): h = (1 - z) h + z g."""
    gate = x[..., :1]
    decay = -F.softplus(gate)
    total = decay.cumsum(1)
    return torch.cat([gate, (-F.softplus(-gate) + F.softplus(x[..., 1:]).log() - total).logcumsumexp(1) + total], -1)


class Blocks(nn.Module):
    """Cuts the steps into blocks of nine and lets an inner net read each block to its end."""

    def __init__(self, inner="lstm"):
        super().__init__()
        self.inner = inner
        self.rnn = nn.LSTM(2, 4, batch_first=True, bidirectional=True)
        self.conv = nn.Conv1d(2, 8, 3, padding=1)
        self.multi = nn.MultiheadAttention(8, 1, batch_first=True)
        self.up, self.head = nn.Linear(2, 8), nn.Linear(8, 1)

    def forward(self, x):
        extra = -x.shape[1] % 9
        w = F.pad(x, (0, 0, 0, extra)).unflatten(1, (-1, 9)).flatten(0, 1)
        if self.inner == "lstm":
            h = self.rnn(w)[0]
        elif self.inner == "conv":
            h = self.conv(w.mT).mT
        else:
            h = self.up(w)
            h = self.multi(h, h, h)[0]
        return self.head(h).reshape(len(x), -1)[:, : x.shape[1]]


def gated_z(x):
    """A soft gate over the features, which is honest, and a whole-sample mean, which is not."""
    return x.softmax(-1) * (x - x.mean(1, keepdim=True))


def week_close(x):
    """The last step of each five, for all five of them."""
    extra = -x.shape[1] % 5
    w = torch.cat([x, x[:, -1:].expand(-1, extra, -1)], 1).unflatten(1, (-1, 5))
    return w[:, :, -1:].expand_as(w).flatten(1, 2)[:, : x.shape[1]]


def linear_attention(x):
    """Keys times values summed over all steps: no softmax anywhere."""
    k = F.elu(x) + 1
    return k @ (k.mT @ x) / (k @ k.sum(1, keepdim=True).mT)


def back_filled(x):
    """Small inputs take the next large one's value."""
    out = list(x.unbind(1))
    for t in range(len(out) - 2, -1, -1):
        out[t] = torch.where(out[t].abs() < 0.8, out[t + 1], out[t])
    return torch.stack(out, 1)


def own_root(x):
    """A trailing deviation as a bare root: its gradient is infinite where nothing varies."""
    w = unfolded(x, 10)
    return (w - w.mean(2, keepdim=True)).square().mean(2).sqrt()


def warming_up(x):
    """No number in the first steps."""
    return torch.where((torch.arange(x.shape[1]) < 7)[:, None], torch.nan, x.cumsum(1))


def peek_by_sign(x):
    return x.detach().sign().roll(-3, 1) * 0.5 + x


# name -> (module, class, reach, layer)
LEAKS = {
    "conv 5": (lambda: Conv(5, 2, 2), "L08", 2, "layers.0"),
    "two layers 3, dilated": (lambda: Conv(3, 2, 2, layers=2, dilation=2), "L08", 4, "layers.0"),
    "same": (Same, "L08", 3, "body.0"),
    "lookahead": (lambda: Conv(4, 0, 3), "L08", 3, "layers.0"),
    "functional": (Functional, "L08", 1, ""),
    "bilstm": (lambda: Recurrent(bidirectional=True), "L09", None, "rnn"),
    "bigru of two layers": (lambda: Recurrent(nn.GRU, num_layers=2, bidirectional=True), "L09", None, "rnn"),
    "flipped": (Flipped, "L09", None, ""),
    "cells backwards": (Cells, "L09", None, "back"),
    "attention, no mask": (lambda: Attention(None), "L10", "end", ""),
    "attention, off by one": (lambda: Attention(1), "L10", 1, ""),
    "fused, off by one": (lambda: Attention(1, "fused"), "L10", 1, ""),
    "multihead, no mask": (lambda: Attention(None, "multi"), "L10", "end", "multi"),
    "multihead, off by one": (lambda: Attention(1, "multi"), "L10", 1, "multi"),
    "encoder, no mask": (lambda: Encoder(False), "L10", "end", "encoder.layers.0.self_attn"),
    "whole z": (lambda: Fixed(lambda x: (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)), "L04", "end", ""),
    "instance norm": (lambda: nn.Sequential(Turn(), nn.InstanceNorm1d(2), Turn(), nn.Linear(2, 1)), "L04", "end", "1"),
    "shifted": (lambda: Fixed(lambda x: F.pad(x, (0, 0, -1, 1))), "L01", 1, ""),
    "centred pool": (lambda: Fixed(lambda x: F.avg_pool1d(x.mT, 5, 1, 2).mT), "L02", 2, ""),
    "bilstm in blocks": (Blocks, "L09", 8, ""),
    "conv in blocks": (lambda: Blocks("conv"), "L08", 1, ""),
    "attention in blocks": (lambda: Blocks("multi"), "L10", 8, ""),
    "centred z beside a gate": (lambda: Fixed(gated_z), "L04", "end", ""),
    "week's close": (lambda: Fixed(week_close), "L02", 4, ""),
    "linear attention": (lambda: Fixed(linear_attention), "L04", "end", ""),
    "back-filled": (lambda: Fixed(back_filled), "L02", None, ""),
    "ranked over time": (lambda: Fixed(lambda x: x.argsort(1).argsort(1).to(x.dtype)), "L04", "end", ""),
    "sign of the future": (lambda: Fixed(peek_by_sign), "L02", 3, ""),
}  # fmt: skip


HONEST = {
    "causal conv": lambda: Conv(5, 4, 0, layers=3),
    "chomped": Chomp,
    "functional causal": lambda: Functional(2, 0),
    "lstm": Recurrent,
    "gru": lambda: Recurrent(nn.GRU, num_layers=2),
    "rnn": lambda: Recurrent(nn.RNN),
    "causal attention": Attention,
    "fused causal": lambda: Attention(0, "fused"),
    "multihead causal": lambda: Attention(0, "multi"),
    "bilstm in a window": Windowed,
    "conv in a window": lambda: Windowed("conv"),
    "layer norm": lambda: nn.Sequential(nn.Linear(2, 6), nn.LayerNorm(6), nn.Linear(6, 1)),
    "dropout, eval": lambda: nn.Sequential(nn.Linear(2, 6), nn.Dropout(0.5), nn.Linear(6, 1)),
    "batch norm, eval": Normed,
    "trailing instance norm": lambda: Fixed(revin),
    "cumulative mean": lambda: Fixed(lambda x: x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]),
    "running log sum": lambda: Fixed(lambda x: x.logcumsumexp(1)),
    "trailing max": lambda: Fixed(lambda x: unfolded(x).amax(2)),
    "encoder with a mask": Encoder,
    "bare root": lambda: Fixed(own_root),
    "unknown at first": lambda: Fixed(warming_up),
    "mask of a large number": lambda: Attention(0, "finite"),
    "scan": lambda: Fixed(min_gru),
    "by fourier": lambda: Fixed(by_fourier),
    "residual": lambda: Fixed(lambda x: x + 0.5 * F.pad(x, (0, 0, 2, -2))),
}  # fmt: skip


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=T, listings=8, seed=3)


def p5(net, panel, **options):
    return gradients.probe(from_module(net, CHANNELS, name="net", **options), panel, Stream(0, "p5"))


@pytest.mark.parametrize("key", LEAKS)
def test_planted_modules_are_caught_with_class_reach_and_layer(market, key):
    make, leak, reach, layer = LEAKS[key]
    result = p5(drawn(make()), market)
    assert result.status == "LEAK"
    (found,) = result.findings
    assert (found.leak, found.where) == (leak, f"net.{layer}" if layer else "net"), found
    if reach == "end":
        assert found.reach == T - 1
        assert "to the end" in found.note
    elif reach is not None:
        assert found.reach == reach
    else:
        assert found.reach > 2
    assert found.hits > 0
    assert found.old != found.new


@pytest.mark.parametrize("key", HONEST)
def test_honest_modules_are_not_flagged(market, key):
    result = p5(drawn(HONEST[key]()), market)
    assert result.status == "ok", (result.detail, result.findings)
    assert result.cuts == (0, 24)


@settings(max_examples=12)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=3))
def test_the_reach_of_convolutions_is_the_sum_of_what_each_looks_ahead(market, layers):
    """Any stack of kernel, steps to the right and dilation: its reach is exact, and 0 is no finding."""
    sides = [(min(right, kernel - 1) * step, (kernel - 1) * step, step) for kernel, right, step in layers]
    parts = [Turn()]
    for ahead, whole, step in sides:
        parts += [nn.ConstantPad1d((whole - ahead, ahead), 0.0), nn.Conv1d(2, 2, whole // step + 1, dilation=step)]
    result = p5(drawn(nn.Sequential(*parts, Turn())), market)
    reach = sum(ahead for ahead, _, _ in sides)
    assert [f.reach for f in result.findings] == ([reach] if reach else [])
    if reach:
        first = next(i for i, (ahead, _, _) in enumerate(sides) if ahead)
        assert (result.findings[0].leak, result.findings[0].where) == ("L08", f"net.{2 + 2 * first}")


@pytest.mark.parametrize("key", ["lstm", "causal attention", "layer norm"])
def test_planted_next_bars_are_caught_down_to_a_millionth(market, key):
    found = gradients.canaries(from_module(drawn(HONEST[key]()), CHANNELS, name="net"), market, Stream(0, "p5"))
    caught = {c.leak: c.caught for c in found}
    assert [c.essential for c in found] == [True, False, False, False, False]
    assert all(caught[f"reach +1 at {s} of scale"] for s in ("1", "0.001", "1e-06", "1e-09"))
    assert {c.target for c in found} == {"net by gradient"}
    assert found[0].hits == (6, 6)


# ---- batches ----
NORMS = {
    "over time": (lambda: Normed(), "norm"),
    "over rows": (lambda: Normed(flat=True), "norm"),
    "inside a sequential": (lambda: nn.Sequential(nn.Linear(2, 3), nn.Sequential(Turn(), BatchNorm(3), Turn()),
                                                  nn.Linear(3, 1)), "1.1"),
}  # fmt: skip


@pytest.mark.parametrize("key", NORMS)
def test_batch_norm_left_in_train_mode_is_l06_to_the_end(market, key):
    make, layer = NORMS[key]
    result = p5(drawn(make(), training=True), market)
    (found,) = result.findings
    assert (found.leak, found.where, found.reach) == ("L06", f"net.{layer}", T - 1)
    assert "BatchNorm1d; to the end; in train mode, as given" in found.note
    assert p5(drawn(make()), market).status == "ok"


def test_statistics_of_the_batch_leak_in_evaluation_mode_too(market):
    untracked = p5(drawn(Normed(track=False)), market)
    assert {(f.leak, f.where) for f in untracked.findings} == {("L06", "net.norm")}
    ranked = p5(drawn(Fixed(lambda x: x - x.mean(0, keepdim=True))), market)
    (found,) = ranked.findings
    assert (found.leak, found.where, found.reach, found.of, found.hits) == ("L06", "net", None, "listings", 6)
    assert p5(drawn(Fixed(lambda x: x - x.mean(0, keepdim=True))), market, unit="date").status == "ok"


def test_a_date_module_still_must_not_see_later_dates(market):
    net = drawn(Fixed(lambda x: F.pad(x, (0, 0, -1, 1)).mean(0, keepdim=True).expand_as(x)))
    (found,) = p5(net, market, unit="date").findings
    assert (found.leak, found.reach) == ("L01", 1)


@pytest.mark.parametrize("net", [Normed(), Normed(flat=True), nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5),
                                 nn.Linear(4, 1)), Recurrent(dropout=0.5, num_layers=2)])  # fmt: skip
def test_p4_sees_what_train_mode_does(market, net):
    plan = from_module(drawn(net, training=True), CHANNELS, name="net")
    result = neighbours.probe(plan.predictor(market), Stream(0, "p4"))
    (found,) = result.findings
    # Running statistics move; dropout draws anew. Either is L07, and evaluation mode has neither.
    assert found.leak == "L07"
    frozen = from_module(drawn(net), CHANNELS, name="net").predictor(market)
    assert neighbours.probe(frozen, Stream(0, "p4")).status == "ok"


def test_p4_sees_untracked_batch_statistics_and_a_kept_state(market):
    plan = from_module(drawn(Normed(track=False)), CHANNELS)
    assert [f.leak for f in neighbours.probe(plan.predictor(market), Stream(0, "p4")).findings] == ["L06"]

    class Keeps(Recurrent):
        last = None

        def forward(self, x):
            h = None if self.last is None or self.last[0].shape[1] != len(x) else self.last
            out, self.last = self.rnn(x, h)
            return self.head(out)[..., 0]

    plan = from_module(drawn(Keeps()), CHANNELS)
    (found,) = neighbours.probe(plan.predictor(market), Stream(0, "p4")).findings
    assert (found.leak, found.note) == ("L07", "two equal calls differ")


# ---- our own nets, as window models ----
OURS = [RNN(), LSTM(), GRU(), MinGRU(), MinLSTM(), MLP(), TCN(), Transformer(), ALSTM(), ConvLSTM(), DLinear(),
        NLinear()]  # fmt: skip


@pytest.mark.parametrize("model", OURS, ids=lambda m: m.name)
def test_samples_of_our_nets_do_not_talk(model):
    assert model.unit == "asset"
    net = drawn(model.make(3, 1, Stream(0, "net")))  # drawn: some start at zero, which no gradient leaves
    x = torch.randn(model.lookback, 5, 3, generator=torch.Generator().manual_seed(1))
    result = gradients.neighbours(net, x, name=model.name)
    assert result.status == "ok", (result.detail, result.findings)


def test_a_net_of_a_date_does_talk_and_is_caught_by_the_same_check():
    net = drawn(CrossStock().make(3, 1, Stream(0, "net")))
    x = torch.randn(CrossStock().lookback, 5, 3, generator=torch.Generator().manual_seed(1))
    result = gradients.neighbours(net, x, name="cross", call=lambda m, v: m(v))
    assert [f.leak for f in result.findings] == ["L06"]
    assert result.findings[0].hits == 5


# ---- the door ----
def test_the_target_goes_through_the_whole_audit(market):
    panel = made_up_panel(rows=120, listings=24, seed=4)
    honest = audit(from_module(drawn(Conv(3, 2, 0)), CHANNELS, name="net").plan(panel))
    assert honest.exit_code == 0, honest.to_text()
    leaky = audit(from_module(drawn(Conv(5, 2, 2)), CHANNELS, name="net").plan(panel))
    (found,) = leaky.findings
    assert (found.probe, found.leak, found.reach) == ("P5", "L08", 2)
    assert any(f.probe == "P2" and f.reach == 2 for r in leaky.results for f in r.findings)  # seen, said once


def test_what_has_no_gradient_is_left_to_rewriting(market):
    sign = drawn(Fixed(lambda x: x.detach().sign()))
    result = p5(sign, market)
    assert result.status == "not assessed"
    assert "no gradient reaches the inputs" in result.detail
    assert result.detail.endswith("P2 on the module's target decides")
    plan = from_module(drawn(Fixed(lambda x: x.sign().roll(-3, 1))), CHANNELS, name="net")
    cuts = np.array([[20, 30, 40, 25, 35, 45, 50, 55]])
    assert rewriting.probe(plan.target, market, cuts, Stream(0, "p2")).findings[0].reach == 3
    assert p5(plan.module, market).findings[0].reach == 3


def test_a_module_that_differs_from_itself_is_judged_by_gradients(market):
    """Its own noise is no leak (P4 calls it L07); a convolution that looks ahead still is one."""
    draw = np.random.default_rng(0)

    class Noisy(Conv):
        def forward(self, x):
            return super().forward(x) + torch.from_numpy(draw.standard_normal(x.shape[:2]))

    honest = p5(drawn(Noisy(3, 2, 0)), market)
    assert honest.status == "ok"
    assert "equal calls differ: gradients only" in honest.detail
    (found,) = p5(drawn(Noisy(3, 1, 1)), market).findings
    assert (found.reach, found.old) == (1, None)
    p4 = neighbours.probe(from_module(drawn(Noisy(3, 2, 0)), CHANNELS).predictor(market), Stream(0, "p4"))
    assert [f.leak for f in p4.findings] == ["L07"]


def test_gradients_that_are_nan_are_said_to_be(market):
    result = p5(drawn(Fixed(lambda x: x + (0.0 * (x * 0).abs().sqrt()))), market)
    assert result.status == "cannot tell"
    assert "gradients are NaN or infinite" in result.detail


def test_a_module_that_raises_cannot_be_told(market):
    result = p5(drawn(nn.Linear(3, 1)), market)
    assert (result.status, result.findings) == ("cannot tell", ())
    assert result.detail.startswith("net raised RuntimeError: mat1 and mat2")


def test_modules_that_insist_on_float32_or_on_their_length_are_probed(market):
    class Stubborn(nn.Module):
        def __init__(self, right):
            super().__init__()
            self.conv, self.mix = nn.Conv1d(2, 1, 3), right

        def forward(self, x):
            out = self.conv(F.pad(x.float().transpose(1, 2), (2 - self.mix, self.mix)).to(torch.float32))[:, 0]
            return out + torch.zeros(T, dtype=torch.float32)  # T steps only

    class Single(Stubborn):
        def forward(self, x):
            if x.dtype != torch.float32:
                raise TypeError("float32 only")
            return super().forward(x)

    assert p5(drawn(Single(0)), market).status == "ok"
    assert "in float32" in p5(drawn(Single(0)), market).detail
    assert p5(drawn(Single(1)), market).findings[0].reach == 1
    mixer = nn.Sequential(Turn(), nn.Linear(T, T), Turn(), nn.Linear(2, 1))  # a weight as long as time
    (found,) = p5(drawn(mixer), market).findings
    assert (found.leak, found.where, found.reach) == ("L04", "net.1", T - 1)


def test_time_first_and_several_outputs(market):
    """The raw layer: (T, B, F), a tuple, and five outputs a step."""
    assert p5(drawn(nn.LSTM(2, 5)), market, layout="tbf").status == "ok"
    (found,) = p5(drawn(nn.LSTM(2, 5, bidirectional=True)), market, layout="tbf").findings
    assert (found.leak, found.where) == ("L09", "net")
    out = from_module(nn.LSTM(2, 5), CHANNELS, name="net", layout="tbf").target.run(market)
    assert out["net"].shape == (T, 8, 5)


def test_inputs_read_no_later_row_and_know_their_definition(market):
    values = market.view("close").copy()
    values[5, 0], values[6, 0] = np.inf, np.nan
    z = standardised(values, 7)
    for t in range(T):
        assert np.array_equal(standardised(values[: t + 1], 7), z[: t + 1])
    rows = values[3:10, 1]
    rows = rows[np.isfinite(rows)]
    assert z[9, 1] == pytest.approx((values[9, 1] - rows.mean()) / rows.std(), rel=1e-12)
    assert (z[0] == 0).all()
    assert (z[5:7, 0] == 0).all()
    assert (standardised(np.full((9, 2), 7.0)) == 0).all()
    assert np.isfinite(z).all()


def test_auditing_leaves_the_module_and_the_callers_random_stream_alone(market):
    net = drawn(Normed(), training=True)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    stream = torch.get_rng_state()
    plan = from_module(net, CHANNELS)
    p5(net, market)
    neighbours.probe(plan.predictor(market), Stream(0, "p4"))
    assert plan.given is not None
    plan.given.run(market)
    assert net.training
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    assert torch.equal(stream, torch.get_rng_state())
    assert from_module(net.eval(), CHANNELS).given is None


def test_the_same_seed_gives_the_same_findings(market):
    a, b = (p5(drawn(Recurrent(bidirectional=True)), market) for _ in range(2))
    assert a.findings == b.findings
    assert (a.status, a.detail, a.cuts) == (b.status, b.detail, b.cuts)


MESSAGES = [
    (lambda: from_module(len, CHANNELS),
     "audit: builtin_function_or_method is no torch module; pass an nn.Module, or a function"),
    (lambda: from_module(nn.Linear(2, 1), (), name="net"),
     "audit: module net was given no channels; name the panel views that it reads, in order"),
    (lambda: from_module(nn.Linear(2, 1), CHANNELS, name="net", layout="bft"),
     "audit: module net: layout must be 'btf' or 'tbf', got 'bft'"),
    (lambda: from_module(nn.Linear(2, 1), CHANNELS, name="net", unit="all"),
     "audit: module net: unit must be 'asset' or 'date', got 'all'"),
    (lambda: from_module(Fixed(lambda x: x[:, -1:]), CHANNELS, name="net").target.run(made_up_panel(9, 3)),
     "audit: module net gave (3, 1) for 3 listings of 9 steps; return one output per step, (B, T) or (B, T, K)"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "text"), MESSAGES)
def test_messages(act, text):
    with pytest.raises(ConfigError) as e:
        act()
    assert str(e.value) == text


def test_a_lacking_channel_is_named(market):
    with pytest.raises(DataError, match="module net needs vwap; these bars hold only"):
        from_module(nn.Linear(1, 1), ("vwap",), name="net").target.run(market)
