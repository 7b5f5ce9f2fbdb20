"""NLinear, DLinear, MLP, RNN, GRU and the Markov ridge: their equations in NumPy, and what every rung must hold."""

import dataclasses
import math

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
    made,
)
from torch import nn

from hitherto.errors import ConfigError, DataError
from hitherto.models.aligned import Linear
from hitherto.models.base import Context, Forecaster
from hitherto.models.dlinear import DLinear, NLinear, moving_average
from hitherto.models.gated import GRU, RNN
from hitherto.models.layers import draw
from hitherto.models.linear import Ridge
from hitherto.models.markov import MarkovRidge
from hitherto.models.mlp import MLP
from hitherto.models.net import Net
from hitherto.models.scan import MinGRU, MinLSTM
from hitherto.seeds import Stream

FEW = {"lookback": 6, "epochs": 2, "batch": 60, "learning_rate": 0.01}
NETS = [
    NLinear(**FEW),
    DLinear(kernel=3, **FEW),
    MLP(hidden=(13, 7), dropout=0.2, **FEW),
    MLP(hidden=(8,), activation="relu", **FEW),
    RNN(hidden=8, **FEW),
    RNN(hidden=8, layers=2, dropout=0.2, **FEW),
    GRU(hidden=8, **FEW),
    GRU(hidden=6, layers=2, dropout=0.2, **FEW),
]
MARKOV = MarkovRidge(taus=(1, 2, 6))
CHECKS = (
    check_batch_equals_one_by_one, check_neighbours_and_future, check_same_seed_same_bits, check_round_trip,
)  # fmt: skip
RUNGS = [NLinear, DLinear, MLP, RNN, GRU, MinGRU, MinLSTM]


def label(model):
    return f"{model.name}-{getattr(model, 'layers', getattr(model, 'activation', 1))}"


each_net = pytest.mark.parametrize("model", NETS, ids=label)
each = pytest.mark.parametrize("model", [*NETS, MARKOV], ids=label)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=Stream(seed, "rungs").torch(), dtype=torch.float64)


# -- what every rung must hold ----------------------------------------------------------------------------------------


@each_net
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


class Flawed(nn.Module):
    """A linear map of the last row with one planted flaw."""

    def __init__(self, width, columns, flaw):
        super().__init__()
        self.head, self.flaw, self.calls = nn.Linear(width, columns), flaw, 0

    def forward(self, x, generator=None):
        last = x[-1]
        self.calls += 1
        if self.flaw == "batch mean":
            last = last - last.mean(0)
        if self.flaw == "global noise":
            last = last + 1e-3 * torch.randn(last.shape)
        if self.flaw == "counts its calls":
            last = last * (1 + self.calls)
        if self.flaw == "stops a gradient":
            last = last.detach()
        return self.head(last)


@dataclasses.dataclass(frozen=True)
class Suspect(Net):
    flaw: str = "none"

    def build(self, width, columns):
        return Flawed(width, columns, self.flaw)


@pytest.mark.parametrize(
    ("flaw", "checks"),
    [
        ("none", ()),
        ("batch mean", (check_batch_equals_one_by_one, check_neighbours_and_future)),
        ("global noise", (check_batch_equals_one_by_one, check_same_seed_same_bits, check_round_trip)),
        ("counts its calls", (check_batch_equals_one_by_one, check_round_trip)),
    ],
)
def test_the_checks_catch_planted_flaws(flaw, checks):
    model = Suspect(flaw=flaw, **FEW)
    with torch.random.fork_rng(devices=[]):  # the planted noise draws from torch's global state
        for check in (
            check_batch_equals_one_by_one,
            check_neighbours_and_future,
            check_same_seed_same_bits,
            check_round_trip,
        ):
            if check in checks:
                with pytest.raises(AssertionError):
                    check(model)
            elif flaw == "none":
                check(model)


def test_the_gradient_check_catches_a_stopped_gradient():
    check_gradients(Flawed(3, 2, "none"), normal(6, 2, 3))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        check_gradients(Flawed(3, 2, "stops a gradient"), normal(6, 2, 3))


@pytest.mark.parametrize("kind", [*RUNGS, MarkovRidge])
def test_settings_are_forecasters_and_search_spaces_name_their_fields(kind):
    assert isinstance(kind(), Forecaster)
    assert kind().unit == "asset"
    if kind is MarkovRidge:
        return
    fields = {f.name: f for f in dataclasses.fields(kind)}
    assert set(kind.space) <= set(fields)
    assert {"learning_rate", "weight_decay"} < set(kind.space)
    for name, choices in kind.space.items():
        values = choices.values if hasattr(choices, "values") else (choices.low, choices.high)
        for value in values:
            whole = isinstance(fields[name].default, int)
            model = kind(**{name: int(value) if whole else value})
            net = model.make(4, 2, Stream(0))
            assert net(torch.zeros(20, 3, 4), Stream(1).torch()).shape == (3, 2)


# -- the equations ----------------------------------------------------------------------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cells(w, x, cell, layers):
    """The top layer's states of an RNN (Elman 1990) or a GRU (Cho et al. 2014, the reset gate after the map)."""
    for k in range(layers):
        inner = f"{cell}.{{}}_l{k}" if f"{cell}.weight_ih_l{k}" in w else f"{cell}.{k}.{{}}_l0"
        U, V, b, c = (w[inner.format(n)] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, out = np.zeros((x.shape[1], V.shape[1])), []
        for row in x:
            p, q = row @ U.T + b, h @ V.T + c
            if cell == "rnn":
                h = np.tanh(p + q)
            else:
                (pr, pz, pn), (qr, qz, qn) = np.split(p, 3, axis=1), np.split(q, 3, axis=1)
                z = sigmoid(pz + qz)
                h = (1 - z) * np.tanh(pn + sigmoid(pr + qr) * qn) + z * h
            out.append(h)
        x = np.stack(out)
    return x


def nlinear(w, x, model):
    y = x[-1] @ w["last.weight"].T + w["last.bias"]
    for b in range(x.shape[1]):
        y[b] += w["past.weight"] @ (x[:-1, b] - x[-1, b]).ravel()
    return y


def dlinear(w, x, model):
    trend = np.stack([x[max(0, t - model.kernel + 1) : t + 1].mean(axis=0) for t in range(len(x))])
    rest = x - trend
    assert np.abs(rest[0]).max() < 1e-15
    return np.stack([
        w["trend.weight"] @ trend[:, b].ravel() + w["rest.weight"] @ rest[1:, b].ravel() + w["trend.bias"]
        for b in range(x.shape[1])
    ])  # fmt: skip


def mlp(w, x, model):
    h = x.transpose(1, 0, 2).reshape(x.shape[1], -1)
    for k in range(len(model.hidden)):
        h = h @ w[f"maps.{k}.weight"].T + w[f"maps.{k}.bias"]
        gelu = h * 0.5 * (1 + np.vectorize(math.erf)(h / math.sqrt(2)))
        h = gelu if model.activation == "gelu" else np.maximum(h, 0)
    return h @ w["head.weight"].T + w["head.bias"]


def recurrent(w, x, model):
    return cells(w, x, model.name, model.layers)[-1] @ w["head.weight"].T + w["head.bias"]


ORACLES = {"nlinear": nlinear, "dlinear": dlinear, "mlp": mlp, "rnn": recurrent, "gru": recurrent}


@torch.no_grad()
def redraw(net):
    """Give ``net``, whose first weights are 0, others."""
    for k, p in enumerate(net.parameters()):
        p.copy_(normal(*p.shape, seed=k))


@each_net
def test_the_net_equals_its_equations(model):
    net = model.make(3, 2, Stream(0)).double()
    if model.name.endswith("linear"):
        redraw(net)
    w = {k: v.numpy() for k, v in net.state_dict().items()}
    x = 2 * normal(6, 5, 3)
    want = ORACLES[model.name](w, x.numpy(), model)
    assert want.shape == (5, 2)
    assert np.abs(want).max() > 0.01
    tolerance = 1e-6 if model.name == "dlinear" else 1e-12  # the weights of its moving average are float32
    assert np.abs(net(x, None).detach().numpy() - want).max() < tolerance


@pytest.mark.parametrize("model", NETS[:4], ids=label)
def test_older_rows_than_the_lookback_are_not_read(model):
    net = model.make(3, 2, Stream(0))
    if model.name.endswith("linear"):
        assert not any(p.any() for p in net.parameters())
        redraw(net)
    x = normal(11, 4, 3).float()
    other = x.clone()
    other[:5] = 99
    assert net(x, None).any()
    assert torch.equal(net(x, None), net(other, None))
    assert torch.equal(net(x, None), net(x[5:], None))


@given(st.integers(1, 30), st.integers(1, 40))
def test_the_moving_average_looks_back_only(rows, kernel):
    weights = moving_average(rows, kernel).numpy()
    for t in range(rows):
        want = np.zeros(rows)
        want[max(0, t - kernel + 1) : t + 1] = 1 / min(kernel, t + 1)
        assert np.allclose(weights[t], want, rtol=1e-6, atol=0)


def test_noise_of_the_mlp_thins_each_hidden_layer():
    net = MLP(hidden=(16, 8), dropout=0.5, lookback=6).make(3, 1, Stream(0))
    x = normal(6, 4, 3).float()
    assert torch.equal(net(x, None), net(x, None))
    assert torch.equal(net(x, Stream(1).torch()), net(x, Stream(1).torch()))
    assert not torch.equal(net(x, Stream(1).torch()), net(x, Stream(2).torch()))
    drawn, counted = Stream(1).torch(), Stream(1).torch()
    net(x, drawn)
    for shape in ((4, 16), (4, 8)):
        torch.rand(shape, generator=counted)
    assert torch.equal(drawn.get_state(), counted.get_state())


@pytest.mark.parametrize("model", [NLinear(lookback=3), DLinear(lookback=3, kernel=2)], ids=label)
def test_linear_rungs_reach_the_line_that_made_the_labels(model):
    train, valid, test = made(lookback=3, days=60, names=30)
    wanted = np.array([[0.2, -1.0, 0.5], [0.0, 0.3, 0.0], [1.0, 0.0, -0.4]])
    pieces = []
    for w in (train, valid, test):
        x = w.features.values.astype(float)
        y = np.full(w.label.values.shape, np.nan)
        y[2:, :, 0] = sum(x[k : len(x) - 2 + k] @ wanted[k] for k in range(3)) + 0.7
        pieces.append(w.with_(label=dataclasses.replace(w.label, values=y)))
    model = dataclasses.replace(
        model, target="raw", epochs=40, batch=90, learning_rate=0.02, schedule="halving", patience=40
    )
    fit = model.fit(pieces[0], pieces[1], rng=Stream(0), context=Context())
    error = fit.predict(pieces[2]) - pieces[2].targets()
    assert np.sqrt((error**2).mean()) < 0.01  # the labels have no noise and a deviation of 1.6


# -- bits -------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 70), st.integers(1, 20), st.integers(0, 50))
def test_a_row_of_an_aligned_product_does_not_depend_on_its_place(inputs, outputs, seed):
    layer, g = Linear(inputs, outputs), Stream(seed, "aligned").torch()
    draw(layer, g)
    x = torch.randn(128, inputs, generator=g)
    order = torch.randperm(128, generator=g)
    out = layer(x)
    assert torch.equal(layer(x[order]), out[order])
    assert torch.allclose(out, nn.functional.linear(x, layer.weight, layer.bias), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        MLP(hidden=(9,), loss="quantile", **FEW),
        NLinear(loss="ic", **FEW),
        NLinear(**FEW | {"loss": "quantile", "lookback": 4}),
        DLinear(**FEW | {"loss": "quantile", "lookback": 5}),
        RNN(hidden=8, loss="rank", **FEW),
        GRU(hidden=8, loss="quantile", **FEW),
        MinGRU(hidden=9, loss="quantile", **FEW),
        MinLSTM(hidden=9, loss="cross_entropy", target="cs_rank", **FEW),
    ],
    ids=lambda m: f"{m.name}-{m.loss}-{m.lookback}",
)
def test_bits_hold_with_other_losses_and_several_columns(model):
    check_batch_equals_one_by_one(model)
    check_round_trip(model)


# -- the Markov ridge -------------------------------------------------------------------------------------------------


def remembering(order, T=160, N=20, noise=0.5):
    """Windows of 10 rows: output 0 depends on row t-order+1, output 1 on row t alone."""
    train, valid, _ = made(width=2, lookback=10, days=T, names=N, outputs=2)
    x = train.features.values.astype(float)
    y = noise * np.random.default_rng(1).standard_normal(train.label.values.shape)
    y[order - 1 :, :, 0] += x[: len(x) - order + 1] @ [1.0, -1.0]
    y[:, :, 1] += x @ [0.5, 0.5]
    return tuple(w.with_(label=dataclasses.replace(w.label, values=y)) for w in (train, valid))


def fit(model, train, valid, **context):
    return model.fit(train, valid, rng=Stream(0), context=Context(**context))


def test_the_order_is_found_and_reported():
    for order in (2, 5):
        train, valid = remembering(order)
        seen = []
        fitted = fit(MarkovRidge(taus=(1, 2, 5, 10)), train, valid, emit=seen.append)
        # output 0: a shorter order loses the whole signal (variance 2 against noise 0.25); a longer one must win by
        # luck, and so must one for output 1: both are compared on 960 samples, and an order too long costs little, so
        # only that it is not shorter than the truth is certain
        assert fitted.tau[0] >= order
        assert seen[0]["tau"] == fitted.tau.tolist()
        assert set(seen[0]["valid_loss"]) == {"1", "2", "5", "10"}
        losses = {int(k): v for k, v in seen[0]["valid_loss"].items()}
        for o in (0, 1):
            assert losses[fitted.tau[o]][o] == min(v[o] for v in losses.values())
        assert losses[order][0] < 0.3 < 1.5 < losses[1][0]


def test_each_order_is_its_ridge_and_the_best_one_wins():
    train, valid = remembering(5)
    by_tau = {}
    for tau in (1, 2, 5, 10):
        seen = []
        by_tau[tau] = (fit(Ridge(lookback=tau), train, valid, emit=seen.append), seen[0]["valid_loss"])
        one = fit(MarkovRidge(taus=(tau, 10) if tau < 10 else (10,)), train, valid)
        assert one.line.lookback == one.tau.max()
    fitted = fit(MarkovRidge(taus=(1, 2, 5, 10)), train, valid)
    for o in (0, 1):
        best = min(by_tau, key=lambda tau: by_tau[tau][1][o])
        assert fitted.tau[o] == best
        ridge = by_tau[best][0]
        assert np.allclose(fitted.line.coef[o, -2 * best :], ridge.coef[o], rtol=0, atol=1e-12)
        assert not fitted.line.coef[o, : -2 * best].any()
        assert np.isclose(fitted.line.alpha[o], ridge.alpha[o], rtol=1e-12)
        assert np.allclose(fitted.predict(valid)[:, o], ridge.predict(valid)[:, o], rtol=0, atol=1e-12)


def test_a_single_order_is_ridge():
    train, valid = remembering(2)
    for more in ({}, {"alpha": 3.0}, {"target": "cs_rank"}):
        mine = fit(MarkovRidge(taus=(10,), **more), train, valid)
        ridge = fit(Ridge(lookback=10, **more), train, valid)
        assert np.allclose(mine.predict(valid), ridge.predict(valid), rtol=0, atol=1e-13)
        assert mine.tensors().keys() == {*ridge.tensors(), "tau"}
        for k, v in ridge.tensors().items():
            assert np.allclose(mine.tensors()[k], v, rtol=1e-12, atol=1e-15)


def test_a_given_penalty_still_chooses_the_order():
    train, valid = remembering(5)
    fitted = fit(MarkovRidge(taus=(1, 2, 5), alpha=1.0), train, valid)
    assert fitted.tau[0] == 5
    assert fitted.line.alpha.tolist() == [1.0, 1.0]


def test_without_validation_the_smallest_order_is_taken():
    train, valid = remembering(5)
    seen = []
    fitted = fit(MarkovRidge(taus=(2, 5)), train, valid.with_(mask=np.zeros_like(valid.mask)), emit=seen.append)
    assert fitted.tau.tolist() == [2, 2]
    assert seen[0]["valid_loss"] is None
    ridge = fit(Ridge(lookback=2), train, valid.with_(mask=np.zeros_like(valid.mask)))
    assert np.allclose(fitted.predict(valid), ridge.predict(valid), rtol=0, atol=1e-12)


# -- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (NLinear, {"lookback": 1}, "nlinear: lookback must be a whole number >= 2, got 1."),
        (NLinear, {"dropout": 0.1}, "nlinear: dropout must be 0 (there is no hidden layer), got 0.1."),
        (DLinear, {"lookback": 1}, "dlinear: lookback must be a whole number >= 2, got 1."),
        (DLinear, {"kernel": 1}, "dlinear: kernel must be a whole number >= 2, got 1."),
        (DLinear, {"kernel": 2.5}, "dlinear: kernel must be a whole number >= 2, got 2.5."),
        (MLP, {"hidden": ()}, "mlp: hidden must be one or more whole numbers >= 1, got ()."),
        (MLP, {"hidden": (8, 0)}, "mlp: hidden must be one or more whole numbers >= 1, got (8, 0)."),
        (MLP, {"hidden": 8}, "mlp: hidden must be one or more whole numbers >= 1, got 8."),
        (MLP, {"activation": "tanh"}, "mlp: activation must be one of gelu, relu, got 'tanh'."),
        (RNN, {"hidden": 0}, "rnn: hidden must be a whole number >= 1, got 0."),
        (RNN, {"layers": 0}, "rnn: layers must be a whole number >= 1, got 0."),
        (GRU, {"hidden": -1}, "gru: hidden must be a whole number >= 1, got -1."),
        (GRU, {"layers": 0}, "gru: layers must be a whole number >= 1, got 0."),
        (GRU, {"dropout": 1.5}, "gru: dropout must lie in [0, 1), got 1.5."),
        (MarkovRidge, {"taus": ()}, "markov_ridge: taus must be rising whole numbers >= 1, got ()"),
        (MarkovRidge, {"taus": (0, 1)}, "markov_ridge: taus must be rising whole numbers >= 1, got (0, 1)"),
        (MarkovRidge, {"taus": (2, 2)}, "markov_ridge: taus must be rising whole numbers >= 1, got (2, 2)"),
        (MarkovRidge, {"taus": 3}, "markov_ridge: taus must be rising whole numbers >= 1, got 3"),
        (MarkovRidge, {"alpha": -1.0}, "markov_ridge: alpha must be a finite number >= 0 or left out, got -1.0"),
    ],
)
def test_settings_messages(kind, change, message):
    with pytest.raises(ConfigError) as error:
        kind(**change)
    assert str(error.value) == message


def test_fit_messages():
    train, valid = remembering(2)
    with pytest.raises(ConfigError) as short:
        fit(MarkovRidge(), train, valid)
    assert str(short.value) == "markov_ridge: reads 20 rows, these windows hold 10; lengthen theirs"
    with pytest.raises(DataError) as empty:
        fit(MarkovRidge(taus=(1,)), train.with_(mask=np.zeros_like(train.mask)), valid)
    wanted = "markov_ridge: no training sample has all its labels known; lengthen train or relax max_missing"
    assert str(empty.value) == wanted
