import dataclasses
import re

import numpy as np
import pytest
import torch
from kill_child import SMALL, made_windows

from hitherto.errors import ConfigError
from hitherto.models.base import Context, Forecaster
from hitherto.models.recurrent import LSTM, LastStep
from hitherto.models.targets import date_standardise
from hitherto.seeds import Stream

DEEP = LSTM(hidden=16, layers=2)


@pytest.fixture(scope="module")
def fitted():
    train, valid = made_windows()
    return SMALL.fit(train, valid, rng=Stream(0), context=Context())


def by_hand(weights, x, layers):
    """The LSTM's equations (Hochreiter & Schmidhuber 1997, with forget gates) in float64."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    # with dropout between them the layers are modules of their own: lstm.1.weight_hh_l0 is lstm.weight_hh_l1
    w = {re.sub(r"lstm\.(\d)\.(\w+)_l0", r"lstm.\2_l\1", k): v.astype(np.float64) for k, v in weights.items()}
    rows = x.astype(np.float64)
    for k in range(layers):
        H = w[f"lstm.weight_hh_l{k}"].shape[1]
        h = c = np.zeros((x.shape[1], H))
        out = []
        for row in rows:
            z = row @ w[f"lstm.weight_ih_l{k}"].T + h @ w[f"lstm.weight_hh_l{k}"].T
            z += w[f"lstm.bias_ih_l{k}"] + w[f"lstm.bias_hh_l{k}"]
            i, f, g, o = (z[:, j * H : (j + 1) * H] for j in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out.append(h)
        rows = np.stack(out)
    return rows[-1] @ w["head.weight"].T + w["head.bias"]


@pytest.mark.parametrize(("layers", "dropout"), [(1, 0.0), (2, 0.0), (3, 0.2)])
def test_predictions_equal_the_equations(layers, dropout):
    train, valid = made_windows()
    model = dataclasses.replace(SMALL, layers=layers, dropout=dropout, epochs=1)
    assert isinstance(model, Forecaster)
    fitted = model.fit(train, valid, rng=Stream(0), context=Context())
    everything = valid.gather(list(range(len(valid.offsets) - 1)))
    predicted = fitted.predict(valid)
    assert predicted.dtype == np.float64
    assert predicted.shape == (len(valid), 2)
    assert np.allclose(predicted, by_hand(fitted.tensors(), everything.x, layers), rtol=0, atol=1e-5)


def test_it_learns_what_only_a_memory_can_know():
    train, valid = made_windows(T=200, N=20, valid=40)
    model = LSTM(hidden=16, lookback=5, epochs=12, batch=200, learning_rate=0.01)
    fitted = model.fit(train, valid, rng=Stream(0), context=Context())
    truth = date_standardise(valid.targets(), valid.offsets, "cs_zscore")
    got = np.corrcoef(fitted.predict(valid)[:, 0], truth[:, 0])[0, 1]
    assert got > 0.8  # noise 0.1 against signal 1: 0.99 is possible; without memory 0 +- 1 / sqrt(800)
    assert fitted.history.best_loss < 0.4  # the variance of the target is 1
    short = dataclasses.replace(model, lookback=3).fit(
        train.with_(lookback=3), valid.with_(lookback=3), rng=Stream(0), context=Context()
    )
    blind = np.corrcoef(short.predict(valid.with_(lookback=3))[:, 0], truth[:, 0])[0, 1]
    assert abs(blind) < 0.15  # 4 standard errors at 800 samples: P < 1e-4; the label lies just beyond this window


def test_a_prediction_does_not_depend_on_its_neighbours(fitted):
    _, valid = made_windows(T=60, N=50, valid=40)
    whole = {tuple(k): p for k, p in zip(valid.index.tolist(), fitted.predict(valid), strict=True)}
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.9):
        some = valid.with_(mask=valid.mask & (rng.random(valid.mask.shape) < share))
        part = fitted.predict(some)
        expected = np.array([whole[tuple(k)] for k in some.index.tolist()])
        assert np.allclose(part, expected, rtol=0, atol=1e-6)
    values = valid.features.values.copy()
    values[:, 1:] = 1e3 * rng.standard_normal(values[:, 1:].shape)
    wild = fitted.predict(valid.with_(features=dataclasses.replace(valid.features, values=values)))
    first = valid.index[:, 1] == 0
    assert np.allclose(wild[first], [whole[tuple(k)] for k in valid.index[first].tolist()], rtol=0, atol=1e-6)


def test_predicting_changes_nothing(fitted):
    _, valid = made_windows()
    before = fitted.tensors()
    state = torch.get_rng_state()
    first = fitted.predict(valid)
    assert np.array_equal(first, fitted.predict(valid))
    assert all(np.array_equal(v, before[k]) for k, v in fitted.tensors().items())
    assert torch.equal(state, torch.get_rng_state())
    assert fitted.predict(valid.with_(mask=np.zeros_like(valid.mask))).shape == (0, 2)


def test_tensors_round_trip(fitted, tmp_path):
    from safetensors.numpy import load_file, save_file

    _, valid = made_windows()
    save_file(fitted.tensors(), tmp_path / "weights.safetensors")
    again = SMALL.load(load_file(tmp_path / "weights.safetensors"))
    assert np.array_equal(again.predict(valid), fitted.predict(valid))
    assert again.history is None
    with pytest.raises(ConfigError, match=r"lstm: these weights are of other settings \(.*size mismatch.*\)"):
        dataclasses.replace(SMALL, hidden=9).load(fitted.tensors())
    with pytest.raises(
        ConfigError, match=r"lstm: these weights are of other settings \(Missing key.*lstm.weight_ih_l0"
    ):
        SMALL.load({"shape": np.array([3, 2])})
    wider, _ = made_windows(F=4)
    with pytest.raises(ConfigError) as error:
        fitted.predict(wider)
    assert str(error.value) == "lstm: fitted on 3 inputs, got windows of 4."


def test_initial_weights():
    state = torch.get_rng_state()
    models = [dataclasses.replace(DEEP, forget_bias=bias) for bias in (0.0, 1.0, 0.0)]
    nets = [m.make(5, 3, Stream(seed)) for m, seed in zip(models, (0, 0, 1), strict=True)]
    assert torch.equal(state, torch.get_rng_state())
    plain, biased, other = (net.state_dict() for net in nets)
    assert all(v.abs().max() <= 0.25 for v in plain.values())
    # the largest of 1,024 uniform draws lies below 0.9 of its bound with probability 0.9 ** 1024 < 1e-46
    assert plain["lstm.weight_hh_l0"].abs().max() > 0.225
    assert not any(torch.equal(plain[k], other[k]) for k in plain)
    for k in plain:
        expected = plain[k].clone()
        if "bias_ih" in k:
            expected[16:32] += 1
        assert torch.equal(biased[k], expected)


def test_dropout_is_inverted_and_drawn_from_its_generator():
    net = LastStep("lstm", 3, 2000, 1, 1, 0.25)
    net.reset(Stream(0).torch("init"))
    with torch.no_grad():
        net.head.weight.fill_(1.0)
        net.head.bias.fill_(0.0)
    x = torch.randn(4, 2, 3, generator=Stream(0).torch("x"))
    seen = []
    net.head.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    for generator in (None, Stream(0).torch("noise", 1), Stream(0).torch("noise", 1), Stream(0).torch("noise", 2)):
        net(x, generator)
    clean, a, b, c = seen
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.allclose(a[a != 0], (clean / 0.75)[a != 0])
    # 4,000 draws at 1/4: standard error 0.0068, bound 5 of them, P < 1e-6
    assert abs(float((a == 0).float().mean()) - 0.25) < 0.034


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, "lstm: hidden must be a whole number >= 1, got 0."),
        ({"lookback": -1}, "lstm: lookback must be a whole number >= 1, got -1."),
        ({"dropout": 1.0}, "lstm: dropout must lie in [0, 1), got 1.0."),
        ({"target": "z"}, "lstm: target must be one of raw, cs_zscore, cs_rank, got 'z'"),
    ],
)
def test_settings_messages(change, message):
    with pytest.raises(ConfigError) as error:
        LSTM(**change)
    assert str(error.value) == message
