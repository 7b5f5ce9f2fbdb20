import dataclasses
import itertools

import numpy as np
import pytest
import torch
from rungs import (
    check_batch_equals_one_by_one,
    check_gradients,
    check_neighbours_and_future,
    check_round_trip,
    check_same_seed_same_bits,
    data,
    fitted,
    made,
)
from torch.nn import functional

from hitherto.errors import ConfigError
from hitherto.models import glassbox
from hitherto.models.alstm import ALSTM
from hitherto.models.base import Context, Forecaster
from hitherto.models.ensemble import Ensemble
from hitherto.models.linear import Ridge
from hitherto.models.recurrent import LSTM
from hitherto.models.tcn import TCN, Residual
from hitherto.models.transformer import Block, Transformer, attend, positions
from hitherto.seeds import Stream

QUICK = {"lookback": 8, "epochs": 2, "batch": 64, "dropout": 0.2, "learning_rate": 0.01}
# Widths are multiples of 4, as in use: MKL's product with 2 to 8 columns of another depth rounds by a row's position.
SMALL = {
    "tcn": TCN(channels=(16, 20), **QUICK),
    "alstm": ALSTM(hidden=8, layers=2, **QUICK),
    "alstm-gru": ALSTM(hidden=8, cell="gru", **QUICK),
    "transformer": Transformer(hidden=8, heads=2, layers=2, feedforward=12, **QUICK),
}
ENSEMBLE = Ensemble(LSTM(hidden=4, **QUICK), members=2)
EVERY = [*SMALL.values(), ENSEMBLE]
names_of = [*SMALL, "ensemble"]
on_every = pytest.mark.parametrize("model", EVERY, ids=names_of)
on_nets = pytest.mark.parametrize("model", SMALL.values(), ids=list(SMALL))


def drawn(model, width=3, columns=2, seed=0):
    """A float64 net with larger weights than a fit starts from, layer norms included: nothing cancels by symmetry."""
    net = model.make(width, columns, Stream(seed)).double()
    generator = Stream(seed, "drawn").torch()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(2 * torch.rand(p.shape, generator=generator, dtype=torch.float64) - 1)
    return net


def inputs(L, B=4, F=3, seed=0):
    return torch.randn(L, B, F, generator=Stream(seed, "x").torch(), dtype=torch.float64)


# -- what every rung must hold ----------------------------------------------------------------------------------------


@on_every
def test_batch_equals_one_by_one(model):
    check_batch_equals_one_by_one(model)


@on_every
def test_neighbours_and_future(model):
    check_neighbours_and_future(model)


@on_every
def test_same_seed_same_bits(model):
    check_same_seed_same_bits(model)


@on_every
def test_round_trip(model):
    check_round_trip(model)


@on_nets
def test_gradients(model):
    tiny = {"channels": (4, 5)} if isinstance(model, TCN) else {"hidden": 4}
    check_gradients(dataclasses.replace(model, **tiny).build(2, 2), inputs(5, 2, 2))


@on_nets
def test_noise_comes_from_the_generator_alone(model):
    net, x = drawn(model), inputs(6)
    state = torch.get_rng_state()
    clean, again = net(x, None), net(x, None)
    one, same, other = (net(x, Stream(s).torch("noise")) for s in (0, 0, 1))
    assert torch.equal(clean, again)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, clean)
    assert torch.equal(state, torch.get_rng_state())
    sober = drawn(dataclasses.replace(model, dropout=0.0))
    assert torch.equal(sober(x, Stream(0).torch("noise")), clean)


ALMOST_ALL = 1 - 1e-9  # a uniform float32 draw is a multiple of 2^-24 below 1, so nothing is kept


def test_dropout_thins_all_that_a_block_adds():
    x = inputs(6, B=3, F=8)
    attentive = Block(8, 2, 12, ALMOST_ALL).double()
    assert torch.equal(attentive(x, Stream(0).torch()), x)
    assert not torch.allclose(attentive(x, None), x)
    convolving = Residual(8, 8, ALMOST_ALL).double()
    seen = []
    convolving.second.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    assert torch.equal(convolving(x, Stream(0).torch(), every=2), torch.relu(x[1::2]))
    assert not seen[0].any()


@on_nets
def test_it_learns_a_curved_function_of_two_rows(model):
    train, valid, test = made(lookback=4, days=120, names=20)
    sizes = {"channels": (16, 16)} if isinstance(model, TCN) else {"hidden": 16}
    model = dataclasses.replace(model, lookback=4, epochs=12, batch=100, dropout=0.0, **sizes)
    fit, line = (
        m.fit(train, valid, rng=Stream(0), context=Context()) for m in (model, Ridge(lookback=4, target="cs_zscore"))
    )
    truth = test.targets()[:, 0]
    ours, linear = (np.corrcoef(f.predict(test)[:, 0], truth)[0, 1] for f in (fit, line))
    assert linear < 0.9  # what a line can know
    assert ours > linear + 0.03  # on 480 samples; the curved part is what is left


@on_every
def test_one_row_windows(model):
    """The shortest window: no past to attend to or to convolve with."""
    if isinstance(model, Ensemble):
        model = Ensemble(dataclasses.replace(model.of, lookback=1), members=2)
    else:
        model = dataclasses.replace(model, lookback=1, epochs=1)
    _, _, test = data(model)
    assert np.isfinite(fitted(model).predict(test)).all()


# -- TCN ----------------------------------------------------------------------------------------------------------


def dilated(net, x):
    """The paper's net at every step, (L, B, C): torch's dilated convolutions, padded on the left only."""

    def conv(linear, norm, z, dilation):
        weight = linear.weight.unflatten(1, (3, -1)).transpose(1, 2)  # (out, in, tap)
        z = functional.conv1d(functional.pad(z, (2 * dilation, 0)), weight, linear.bias, dilation=dilation)
        return torch.relu(norm(z.transpose(1, 2)).transpose(1, 2))

    z = x.permute(1, 2, 0)
    for k, b in enumerate(net.blocks):
        inner = conv(b.second, b.second_norm, conv(b.first, b.first_norm, z, 2**k), 2**k)
        z = torch.relu(inner + b.match(z.transpose(1, 2)).transpose(1, 2))
    return net.head(z.permute(2, 0, 1))


@pytest.mark.parametrize("channels", [(4,), (5, 5), (4, 6, 6), (3, 4, 4, 5)])
def test_tcn_equals_dilated_convolutions_at_every_step(channels):
    net, x = drawn(TCN(channels=channels)), inputs(37)
    expected = dilated(net, x)
    for t in range(37):
        assert torch.allclose(net(x[: t + 1], None), expected[t], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("blocks", "field"), [(1, 5), (2, 13), (3, 29)])
def test_tcn_sees_exactly_its_receptive_field(blocks, field):
    x = inputs(40).requires_grad_()
    drawn(TCN(channels=(6,) * blocks))(x, None).sum().backward()
    seen = x.grad.abs().amax(dim=(1, 2)) > 0
    assert seen[-field]
    assert not seen[:-field].any()


# -- ALSTM --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_alstm_equals_its_equations(cell, layers):
    net, x = drawn(ALSTM(hidden=6, layers=layers, cell=cell)), inputs(7)
    w = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    kind = glassbox.LSTMCell if cell == "lstm" else glassbox.GRUCell
    cells = [kind.from_torch_state(w, k, prefix="cells.", dtype=np.float64) for k in range(layers)]
    h = glassbox.run_layers(cells, np.tanh(x.numpy() @ w["project.weight"].T + w["project.bias"]))[-1].h
    e = np.tanh(h @ w["score.weight"].T + w["score.bias"]) @ w["weigh.weight"][0]
    a = np.exp(e) / np.exp(e).sum(axis=0)
    assert a.std(axis=0).min() > 0.005  # else a plain mean would pass
    both = np.concatenate([h[-1], np.einsum("lb,lbh->bh", a, h)], axis=1)
    assert np.allclose(net(x, None).detach(), both @ w["head.weight"].T + w["head.bias"], rtol=1e-10, atol=1e-10)


# -- Transformer ----------------------------------------------------------------------------------------------------


def norm(w, key, z):
    z = z - z.mean(axis=-1, keepdims=True)
    return z / np.sqrt((z * z).mean(axis=-1, keepdims=True) + 1e-5) * w[f"{key}.weight"] + w[f"{key}.bias"]


def affine(w, key, z):
    return z @ w[f"{key}.weight"].T + w.get(f"{key}.bias", 0.0)


def attention(q, k, v, heads, causal):
    """softmax(q k' / sqrt(d)) v of (S, H) arrays, head by head and row by row."""
    d = q.shape[1] // heads
    out = np.zeros_like(q)
    for h, s in itertools.product(range(heads), range(len(q))):
        part, stop = slice(h * d, (h + 1) * d), s + 1 if causal else len(k)
        score = k[:stop, part] @ q[s, part] / np.sqrt(d)
        weight = np.exp(score - score.max())
        out[s, part] = weight @ v[:stop, part] / weight.sum()
    return out


def block(w, key, z, heads, causal):
    """A pre-norm block over the first axis of z (S, H)."""
    q, k, v = np.split(affine(w, f"{key}.mix", norm(w, f"{key}.before", z)), 3, axis=1)
    z = z + affine(w, f"{key}.out", attention(q, k, v, heads, causal))
    u = affine(w, f"{key}.up", norm(w, f"{key}.between", z))
    gelu = u * torch.special.ndtr(torch.from_numpy(u)).numpy()
    return z + affine(w, f"{key}.down", gelu)


def sines(L, H):
    back = np.arange(L)[::-1, None] / 1e4 ** (np.arange(0, H, 2) / H)
    return np.concatenate([np.sin(back), np.cos(back)], axis=1)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (1, 4), (2, 2), (3, 2)])
def test_transformer_equals_its_equations(layers, heads):
    net, x = drawn(Transformer(hidden=8, heads=heads, layers=layers, feedforward=12)), inputs(7)
    w = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    for b in range(x.shape[1]):
        z = affine(w, "project", x[:, b].numpy()) + sines(7, 8)
        for k in range(layers):
            z = block(w, f"blocks.{k}", z, heads, causal=True)
        expected = affine(w, "head", norm(w, "norm", z[-1]))
        assert np.allclose(net(x, None)[b].detach(), expected, rtol=1e-10, atol=1e-10)


def test_a_step_attends_to_itself_and_earlier_ones_only():
    torch_block = Block(8, 2, 12, 0.0).double()
    x = inputs(9, B=3, F=8)
    with torch.no_grad():
        before = torch_block(x, None, causal=True)
        for t in range(9):
            other = x.clone()
            other[t:] = inputs(9 - t, B=3, F=8, seed=1)
            after = torch_block(other, None, causal=True)
            assert torch.equal(after[:t], before[:t])
            assert (after[t:] != before[t:]).any(dim=-1).all()


@pytest.mark.parametrize("over", ["steps", "names"])
@pytest.mark.parametrize("heads", [1, 2])
def test_attend_over_either_axis(over, heads):
    q, k, v = (inputs(6, B=5, F=4, seed=s) for s in range(3))
    causal = over == "steps"
    got = attend(q, k, v, heads, over, causal)
    for i in range(5 if over == "steps" else 6):
        pick = (slice(None), i) if over == "steps" else (i,)
        expected = attention(*(z[pick].numpy() for z in (q, k, v)), heads, causal)
        assert np.allclose(got[pick], expected, rtol=1e-12, atol=1e-12)


def test_positions_count_back_from_the_last_step():
    long, short = (positions(torch.zeros(L, 1, 8, dtype=torch.float64))[:, 0].numpy() for L in (11, 4))
    assert np.allclose(long, sines(11, 8), rtol=0, atol=1e-12)
    assert np.array_equal(long[-4:], short)
    assert len(np.unique(long.round(6), axis=0)) == 11


# -- Ensemble -------------------------------------------------------------------------------------------------------


def test_members_are_the_model_fitted_alone_and_the_forecast_is_their_mean():
    train, valid, test = data(ENSEMBLE)
    fit = ENSEMBLE.fit(train, valid, rng=Stream(3, "a"), context=Context())
    alone = [
        ENSEMBLE.of.fit(train, valid, rng=Stream(3, "a").child("member", i), context=Context(threads=2))
        for i in range(2)
    ]
    tensors = fit.tensors()
    assert list(tensors) == [f"member{i}/{k}" for i in range(2) for k in alone[i].tensors()]
    for i, member in enumerate(alone):
        assert all(np.array_equal(tensors[f"member{i}/{k}"], v) for k, v in member.tensors().items())
    parts = [m.predict(test) for m in alone]
    assert not np.allclose(*parts)
    assert np.array_equal(fit.predict(test), (parts[0] + parts[1]) / 2)


def test_an_ensemble_is_a_model_like_its_members():
    assert isinstance(ENSEMBLE, Forecaster)
    assert (ENSEMBLE.name, ENSEMBLE.unit, ENSEMBLE.lookback) == ("lstm-x2", "asset", 8)
    assert Ensemble(LSTM(name="deep"), members=5).name == "deep-x5"
    assert Ensemble(LSTM(), name="mine").name == "mine"


def test_members_have_folders_and_events_of_their_own_and_resume(tmp_path):
    train, valid, test = data(ENSEMBLE)
    events = []
    context = Context(folder=tmp_path, emit=events.append)
    first = ENSEMBLE.fit(train, valid, rng=Stream(0), context=context)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["member0", "member1"]
    epochs = [(e["member"], e["epoch"]) for e in events if e["event"] == "epoch"]
    assert epochs == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(e["members"] == 2 for e in events)
    events.clear()
    again = ENSEMBLE.fit(train, valid, rng=Stream(0), context=dataclasses.replace(context, resume=True))
    assert np.array_equal(again.predict(test), first.predict(test))
    assert [e["event"] for e in events].count("resume") == 2
    assert "epoch" not in [e["event"] for e in events]


# -- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TCN(channels=()), "tcn: channels must be one or more whole numbers >= 1, got []."),
        (lambda: TCN(channels=(8, 0)), "tcn: channels must be one or more whole numbers >= 1, got [8, 0]."),
        (lambda: TCN(lookback=0), "tcn: lookback must be a whole number >= 1, got 0."),
        (lambda: ALSTM(hidden=0), "alstm: hidden must be a whole number >= 1, got 0."),
        (lambda: ALSTM(layers=-1), "alstm: layers must be a whole number >= 1, got -1."),
        (lambda: ALSTM(cell="rnn"), "alstm: cell must be one of lstm, gru, got 'rnn'."),
        (lambda: Transformer(heads=0), "transformer: heads must be a whole number >= 1, got 0."),
        (
            lambda: Transformer(hidden=10, heads=4),
            "transformer: hidden must be even and a multiple of heads, got hidden = 10, heads = 4.",
        ),
        (
            lambda: Transformer(hidden=9, heads=3),
            "transformer: hidden must be even and a multiple of heads, got hidden = 9, heads = 3.",
        ),
        (lambda: Ensemble(LSTM(), members=1), "lstm-x1: members must be a whole number >= 2, got 1."),
        (
            lambda: Ensemble(Ridge(), members=3),
            "ridge-x3: ridge draws no random number, so its members would be equal.",
        ),
        (
            lambda: Ensemble({"kind": "lstm"}, name="mine"),
            "mine: of must be a model, such as { kind = 'lstm' }, got {'kind': 'lstm'}.",
        ),
        (
            lambda: Ensemble(LSTM(), members=2).load({"member0/x": np.zeros(1)}),
            "lstm-x2: these weights are of other settings (1 members, not 2).",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("kind", [TCN, ALSTM, Transformer])
def test_every_setting_in_the_search_space_is_one_and_is_accepted(kind):
    fields = {f.name for f in dataclasses.fields(kind)}
    assert set(kind.space) <= fields
    assert set(kind.space) > {"learning_rate", "dropout"}
    for key, choices in kind.space.items():
        for value in choices.values if hasattr(choices, "values") else (choices.low, choices.high):
            kind(**{key: value})
