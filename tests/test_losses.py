import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kill_child import made_windows
from scipy.stats import pearsonr

from hitherto.errors import ConfigError
from hitherto.models.base import Context
from hitherto.models.recurrent import LSTM
from hitherto.models.targets import date_standardise
from hitherto.seeds import Stream
from hitherto.train import losses, schedule

SETTINGS = LSTM(hidden=8, lookback=5, epochs=3, batch=60, learning_rate=0.01)


def drawn(seed, dates=4, names=7, outputs=2, each=1, unknown=0.2):
    """(p, y, blocks) in float64, some targets unknown."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, names + 1, dates)
    blocks = np.r_[0, np.cumsum(sizes)]
    y = rng.normal(size=(blocks[-1], outputs))
    y[rng.random(y.shape) < unknown] = np.nan
    p = torch.from_numpy(rng.normal(size=(blocks[-1], outputs * each))).requires_grad_()
    return p, torch.from_numpy(y), blocks


def of(name, **more):
    return losses.make(dataclasses.replace(SETTINGS, loss=name, **more), 2)


# -- oracles: each loss by its definition, entry by entry ------------------------------------------------------------


def slow(loss, p, y, blocks):
    """(sum, count) by plain loops."""
    p = p.detach().numpy()
    y = y.numpy()
    parts = []
    if loss.per == "date":
        for (a, b), o in itertools.product(itertools.pairwise(blocks), range(2)):
            known = [i for i in range(a, b) if not math.isnan(y[i, o])]
            if len({y[i, o] for i in known}) < 2:
                continue
            if loss.name == "ic":
                parts.append(1 - pearsonr(p[known, o], y[known, o])[0])
            else:
                pairs = [(i, j) for i in known for j in known if y[i, o] > y[j, o]]
                parts.append(np.mean([math.log1p(math.exp(p[j, o] - p[i, o])) for i, j in pairs]))
        return sum(parts), len(parts)
    for i, o in itertools.product(range(len(y)), range(2)):
        if math.isnan(y[i, o]):
            continue
        e = y[i, o] - p[i, o * loss.each]
        if loss.name == "mse":
            parts.append(e * e)
        elif loss.name == "mae":
            parts.append(abs(e))
        elif loss.name == "huber":
            parts.append(e * e / 2 if abs(e) <= 1 else abs(e) - 0.5)
        elif loss.name == "quantile":
            errors = [y[i, o] - p[i, o * loss.each + k] for k in range(loss.each)]
            parts.append(np.mean([max(q * u, (q - 1) * u) for q, u in zip(loss.levels, errors, strict=True)]))
        else:
            logits = p[i, o * loss.each : (o + 1) * loss.each]
            k = min(max(int((y[i, o] / math.sqrt(12) + 0.5) * loss.classes), 0), loss.classes - 1)
            parts.append(-(logits[k] - np.log(np.exp(logits).sum())))
    return sum(parts), len(parts)


CASES = [(n, {}) for n in ("mse", "mae", "huber", "ic", "rank", "quantile")] + [
    ("cross_entropy", {"target": "cs_rank", "classes": 5})
]


@pytest.mark.parametrize(("name", "more"), CASES)
@given(seed=st.integers(0, 10**6))
def test_each_loss_equals_its_definition(name, more, seed):
    loss = of(name, **more)
    p, y, blocks = drawn(seed, each=loss.each)
    expected, count = slow(loss, p, y, blocks)
    assert loss.count(y, blocks) == count
    # 1e-12 in the correlation's denominator keeps its gradient finite; two names may lie that close together
    assert float(loss(p, y, blocks).detach()) == pytest.approx(expected, rel=1e-5 if name == "ic" else 1e-9, abs=1e-9)


@pytest.mark.parametrize(("name", "more"), CASES)
def test_gradients(name, more):
    loss = of(name, **more)
    p, y, blocks = drawn(3, each=loss.each)
    assert torch.autograd.gradcheck(lambda q: loss(q, y, blocks), (p,))


@pytest.mark.parametrize("name", ["ic", "rank"])
def test_a_date_loss_never_couples_two_dates(name):
    loss = of(name)
    p, y, blocks = drawn(0, dates=3, unknown=0.0, names=9)
    whole = torch.autograd.grad(loss(p, y, blocks), p)[0]
    for a, b in itertools.pairwise(blocks):
        alone = p.detach()[a:b].clone().requires_grad_()
        part = torch.autograd.grad(loss(alone, y[a:b], np.array([0, b - a])), alone)[0]
        assert torch.equal(whole[a:b], part)
    # invariance: adding a constant to a date, and for the correlation scaling it, changes nothing
    moved = p.detach().clone()
    moved[blocks[1] : blocks[2]] = moved[blocks[1] : blocks[2]] * (3.0 if name == "ic" else 1.0) + 5.0
    assert float(loss(moved, y, blocks)) == pytest.approx(float(loss(p, y, blocks).detach()), rel=1e-9)


def test_dates_without_a_ranking_count_for_nothing():
    for name in ("ic", "rank"):
        loss = of(name)
        p = torch.ones(3, 2, requires_grad=True)
        y = torch.tensor([[1.0, 1.0], [1.0, float("nan")], [1.0, 2.0]])[:, :2]
        blocks = np.array([0, 1, 3])
        assert loss.count(y[:2], np.array([0, 2])) == 0
        assert float(loss(p[:2], y[:2], np.array([0, 2]))) == 0.0
        assert torch.isfinite(torch.autograd.grad(loss(p, y, blocks), p)[0]).all()


# -- heads -----------------------------------------------------------------------------------------------------------


def test_forecasts_are_read_off_the_head():
    p = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    assert of("mse").decode(p[:, :2]).tolist() == [[1.0, 2.0]]
    assert of("quantile").decode(p).tolist() == [[2.0, 5.0]]
    classes = of("cross_entropy", target="cs_rank")
    sure = torch.tensor([[0.0, 0.0, 50.0, 50.0, 0.0, 0.0]])
    expected = math.sqrt(12) / 3
    assert np.allclose(classes.decode(sure), [[expected, -expected]])
    assert np.allclose(classes.decode(torch.zeros(1, 6)), 0, atol=1e-6)


def test_classes_are_integers_and_equally_many():
    loss = losses.make(dataclasses.replace(SETTINGS, loss="cross_entropy", target="cs_rank", classes=4), 1)
    y = date_standardise(np.random.default_rng(0).normal(size=(40, 1)), np.array([0, 40]), "cs_rank")
    classes = loss.classify(torch.from_numpy(y))
    assert classes.dtype == torch.int64
    assert torch.bincount(classes[:, 0]).tolist() == [10, 10, 10, 10]
    up = losses.make(dataclasses.replace(SETTINGS, loss="cross_entropy", target="raw", classes=2), 1)
    raw = torch.tensor([[-0.1], [0.0], [0.2], [float("nan")]])
    assert up.classify(raw)[:, 0].tolist() == [0, 0, 1, -1]


@pytest.mark.parametrize(("name", "more"), CASES)
def test_a_net_learns_by_every_loss(name, more):
    train, valid = made_windows(T=120, N=14, valid=30)
    more = {"target": "cs_rank", **more}
    model = dataclasses.replace(SETTINGS, loss=name, epochs=8, learning_rate=0.02, **more)
    fitted = model.fit(train, valid, rng=Stream(0), context=Context())
    truth = date_standardise(valid.targets(), valid.offsets, "cs_rank")
    got = fitted.predict(valid)
    assert got.shape == truth.shape
    # the label is the input three rows ago and noise a tenth of it; without learning the correlation of 420 samples is
    # 0 +- 0.05
    assert np.corrcoef(got[:, 0], truth[:, 0])[0, 1] > 0.5
    again = model.load(fitted.tensors())
    assert np.array_equal(again.predict(valid), got)


def test_quantiles_come_sorted_and_cover():
    train, valid = made_windows(T=160, N=20, valid=40)
    model = dataclasses.replace(SETTINGS, loss="quantile", epochs=10, learning_rate=0.02, target="cs_zscore")
    fitted = model.fit(train, valid, rng=Stream(0), context=Context())
    q = fitted.predict_quantiles(valid)
    assert q.shape == (len(valid), 2, 3)
    assert (np.diff(q, axis=2) >= 0).all()
    truth = date_standardise(valid.targets(), valid.offsets, "cs_zscore")
    inside = ((truth >= q[..., 0]) & (truth <= q[..., 2])).mean()
    assert 0.6 < inside < 0.97  # 0.8 is asked for; 1,600 entries, but fitted on other dates
    assert np.array_equal(fitted.predict(valid), fitted.predict_raw(valid).reshape(-1, 2, 3)[:, :, 1])
    other = dataclasses.replace(SETTINGS, epochs=1).fit(train, valid, rng=Stream(0), context=Context())
    with pytest.raises(ConfigError) as error:
        other.predict_quantiles(valid)
    assert str(error.value) == "lstm: was trained with loss 'mse', not 'quantile'."


# -- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "quantile", "quantiles": (0.5, 0.1)}, "lstm: quantiles must rise within (0, 1), got [0.5, 0.1]."),
        ({"loss": "quantile", "quantiles": ()}, "lstm: quantiles must rise within (0, 1), got []."),
        (
            {"loss": "cross_entropy"},
            "lstm: cross_entropy wants target = 'cs_rank' with classes >= 2 (equal shares of a date), or target = "
            "'raw' with classes = 2 (fall, rise); got 'cs_zscore' with 3.",
        ),
        (
            {"schedule": "step"},
            "lstm: schedule 'step' is not known; use one of constant, halving, cosine, plateau.",
        ),
        ({"warmup": -1}, "lstm: halve_every must be at least 1 and warmup at least 0, got 10 and -1."),
        ({"optimiser": "lion"}, "lstm: optimiser 'lion' is not known; use one of adam, sgd."),
    ],
)
def test_messages(change, message):
    with pytest.raises(ConfigError) as error:
        dataclasses.replace(SETTINGS, **change)
    assert str(error.value) == message


# -- schedules -------------------------------------------------------------------------------------------------------


def test_schedules_by_hand():
    def shares(**changes):
        s = dataclasses.replace(SETTINGS, epochs=4, **changes)
        return [round(schedule.share(s, epoch, 10 * epoch), 6) for epoch in range(4)]

    assert shares() == [1, 1, 1, 1]
    assert shares(schedule="halving", halve_every=2) == [1, 1, 0.5, 0.5]
    assert shares(schedule="cosine") == [1, 0.853553, 0.5, 0.146447]
    assert shares(schedule="plateau") == [1, 1, 1, 1]
    assert shares(warmup=20) == [0.05, 0.55, 1, 1]
    assert shares(schedule="halving", halve_every=1, warmup=20) == [0.05, 0.275, 0.25, 0.125]


def test_the_loop_follows_the_schedule():
    train, valid = made_windows()
    settings = dataclasses.replace(SETTINGS, epochs=4, schedule="halving", halve_every=1)
    rates = [e["rate"] for e in settings.fit(train, valid, rng=Stream(0), context=Context()).history.epochs]
    assert rates == [0.01, 0.005, 0.0025, 0.00125]
    _, noise = made_windows(seed=9)
    flat = dataclasses.replace(SETTINGS, epochs=30, patience=6, schedule="plateau", halve_every=2, learning_rate=0.03)
    history = flat.fit(train, noise, rng=Stream(0), context=Context()).history
    bad, expected = 0, []
    best = math.inf
    rate = 0.03
    for e in history.epochs:
        expected.append(rate)
        bad = 0 if e["valid_loss"] < best else bad + 1
        best = min(best, e["valid_loss"])
        if bad and bad % 2 == 0:
            rate /= 2
    assert [e["rate"] for e in history.epochs] == expected
    assert rate < 0.03
