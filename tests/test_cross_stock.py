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
    data,
    fitted,
    made,
)
from test_rungs_b import affine, block, drawn, inputs, norm, sines
from worlds import out_of_sample, study_of

from hitherto.errors import ConfigError
from hitherto.market import synthetic
from hitherto.models.base import Context
from hitherto.models.cross_stock import CrossStock
from hitherto.models.recurrent import LSTM
from hitherto.seeds import Stream

SMALL = CrossStock(hidden=8, heads=2, feedforward=12, lookback=8, epochs=2, batch=64, dropout=0.2, learning_rate=0.01)


def test_batch_equals_one_by_one():
    check_batch_equals_one_by_one(SMALL)


def test_neighbours_and_future():
    check_neighbours_and_future(SMALL)


def test_same_seed_same_bits():
    check_same_seed_same_bits(SMALL)


def test_round_trip():
    check_round_trip(SMALL)


def test_gradients():
    check_gradients(dataclasses.replace(SMALL, hidden=4, feedforward=5).build(2, 2), inputs(4, 3, 2))


def test_noise_comes_from_the_generator_alone():
    net, x = drawn(SMALL), inputs(6)
    state = torch.get_rng_state()
    clean, again = net(x, None), net(x, None)
    one, same, other = (net(x, Stream(s).torch("noise")) for s in (0, 0, 1))
    assert torch.equal(clean, again)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, clean)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("names", [1, 2, 7])
def test_it_equals_its_equations(names, heads):
    net, x = drawn(CrossStock(hidden=8, heads=heads, feedforward=12)), inputs(5, names)
    w = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    z = affine(w, "project", x.numpy()) + sines(5, 8)[:, None]
    z = np.stack([block(w, "steps", z[:, n], heads, causal=False) for n in range(names)], axis=1)
    z = np.stack([block(w, "names", z[t], heads, causal=False) for t in range(5)])
    h = norm(w, "norm", z)
    score = np.einsum("lnh,nh->ln", h, affine(w, "query", h[-1])) / np.sqrt(8)
    weight = np.exp(score - score.max(axis=0))
    weight /= weight.sum(axis=0)
    assert weight.std(axis=0).min() > 0.01  # else a plain mean would pass
    expected = affine(w, "head", np.einsum("ln,lnh->nh", weight, h))
    assert np.allclose(net(x, None).detach(), expected, rtol=1e-10, atol=1e-10)


def test_reordering_the_names_reorders_the_forecasts():
    net, x = drawn(SMALL), inputs(6, 23)
    with torch.no_grad():
        straight = net(x, None)
        for seed in range(5):
            order = torch.randperm(23, generator=Stream(seed).torch())
            assert torch.allclose(net(x[:, order].contiguous(), None), straight[order], rtol=1e-9, atol=1e-9)


def test_every_name_reads_every_other_of_its_date():
    x = inputs(6, 5).requires_grad_()
    net = drawn(SMALL)
    for n in range(5):
        (grad,) = torch.autograd.grad(net(x, None)[n].sum(), x)
        assert (grad.abs().sum(dim=(0, 2)) > 0).all()
        assert (grad.abs().sum(dim=(1, 2)) > 0).all()  # and every step


def test_a_name_that_is_not_there_is_not_read():
    """A date of fewer names is that date's own: as if the others did not exist."""
    fit = fitted(SMALL)
    _, _, test = data(SMALL)
    half = test.with_(mask=test.mask & (np.arange(test.mask.shape[1]) < 4))
    values = test.features.values.copy()
    values[:, 4:] = 7.0
    other = half.with_(features=dataclasses.replace(test.features, values=values))
    assert np.array_equal(fit.predict(other), fit.predict(half))
    whole = fit.predict(test)[test.index[:, 1] < 4]
    assert not np.allclose(whole, fit.predict(half))
    alone = test.with_(mask=test.mask & (np.arange(test.mask.shape[1]) == 2))
    assert np.isfinite(fit.predict(alone)).all()


def test_other_dates_change_no_bit():
    fit = fitted(SMALL, names=9)
    _, _, test = data(SMALL, names=9)
    expected = fit.predict(test)
    dates = test.index[:, 0]
    rng = np.random.default_rng(0)
    for share in (0.2, 0.5, 0.8):
        keep = rng.random(len(test.mask)) < share
        some = test.with_(mask=test.mask & keep[:, None])
        assert np.array_equal(fit.predict(some), expected[keep[dates]])


def test_it_reads_a_name_whose_label_never_came():
    """Training sees every known name of a date: a missing label drops the loss of that name, not its inputs."""
    train, valid, test = made()
    values = train.label.values.copy()
    values[:, 0] = np.nan
    holes = dataclasses.replace(train.label, values=values)
    model = dataclasses.replace(SMALL, dropout=0.0)
    fits = []
    for wild in (False, True):
        x = train.features.values.copy()
        x[:, 0] += wild
        parts = [w.with_(label=holes, features=dataclasses.replace(w.features, values=x)) for w in (train, valid)]
        fits.append(model.fit(*parts, rng=Stream(0), context=Context()))
    first, second = (f.tensors() for f in fits)
    assert all(np.isfinite(v).all() for v in first.values())
    assert not np.array_equal(first["head.weight"], second["head.weight"])
    assert np.isfinite(fits[0].predict(test)).all()


def test_it_finds_what_lies_in_the_other_stocks_and_an_asset_net_does_not():
    toy = synthetic.cross_stock(0, bars=1500, symbols=30)
    ours = CrossStock(
        lookback=1, hidden=16, heads=1, feedforward=32, epochs=5, batch=256, patience=5, learning_rate=3e-3
    )
    theirs = LSTM(lookback=1, hidden=16, epochs=2, batch=1024, learning_rate=3e-3)
    seen = out_of_sample(study_of(toy, [ours, theirs]))
    # the mean daily IC of the truth itself is about 0.32
    assert seen["cross_stock"].ic.interval.lo > 0.1
    for rival in ("lstm", "ridge", "lightgbm"):
        interval = seen[rival].ic.interval
        # an IC of nothing has a standard error of 0.024 over 250 dates whose 30 values share one number: 4 of them
        assert interval is None or abs(interval.estimate) < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, "cross_stock: hidden must be a whole number >= 1, got 0."),
        ({"feedforward": 0}, "cross_stock: feedforward must be a whole number >= 1, got 0."),
        (
            {"hidden": 12, "heads": 8},
            "cross_stock: hidden must be even and a multiple of heads, got hidden = 12, heads = 8.",
        ),
        ({"dropout": 1.0}, "cross_stock: dropout must lie in [0, 1), got 1.0."),
    ],
)
def test_messages(change, message):
    with pytest.raises(ConfigError) as error:
        CrossStock(**change)
    assert str(error.value) == message


def test_every_setting_in_the_search_space_is_one_and_is_accepted():
    assert set(CrossStock.space) <= {f.name for f in dataclasses.fields(CrossStock)}
    for key, choices in CrossStock.space.items():
        for value in choices.values if hasattr(choices, "values") else (choices.low, choices.high):
            CrossStock(**{key: value})
