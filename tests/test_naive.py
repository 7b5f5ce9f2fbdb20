"""Naive forecasts: exact values, what they read, messages."""

import dataclasses

import numpy as np
import pytest
from toys import make_panel

from hitherto.errors import ConfigError
from hitherto.features.base import Affine, Features
from hitherto.labels import forward_return
from hitherto.models.base import Context, Forecaster
from hitherto.models.naive import Momentum, Persistence, Zero
from hitherto.seeds import Stream
from hitherto.windows import Missing, Windows

NAMED = [Persistence(feature="return_1"), Momentum(lookback=5, feature="return_1")]


def returns(close, days=1):
    out = np.full(close.shape, np.nan)
    out[days:] = close[days:] / close[:-days] - 1
    return out


def windows(panel, lookback, entry="next_close", horizons=(1, 5)):
    r = returns(panel.view("close"))
    features = Features(np.stack([0 * r, r], axis=2).astype(np.float32), ("flat", "return_1"), (1, 2), ("close",))
    affine = Affine(np.ones(2, np.float32), np.full(2, 9, np.float32), 3.0)
    return Windows(features, forward_return(panel, horizons, entry), panel.universe, lookback, affine,
                   Missing(max_share=1.0), labelled=False)  # fmt: skip


def forecast(model, w):
    return model.fit(w, w, rng=Stream(0), context=Context()).predict(w)


def at(values, w):
    return values[w.index[:, 0], w.index[:, 1]]


@pytest.mark.parametrize("model", [Zero(), Persistence(), Momentum(), *NAMED])
def test_they_are_forecasters(model):
    w = windows(make_panel(T=60, N=4), model.lookback)
    assert isinstance(model, Forecaster)
    fitted = model.fit(w, w, rng=Stream(0), context=Context())
    out = fitted.predict(w)
    assert out.shape == (len(w), 2)
    assert out.dtype == np.float64
    assert np.isfinite(out).all()
    assert (not out.any()) == (model.name == "zero")
    assert all(isinstance(v, np.ndarray) for v in fitted.tensors().values())
    assert fitted.predict(w.with_(mask=np.zeros_like(w.mask))).shape == (0, 2)


@pytest.mark.parametrize("sign", [1, -1])
def test_persistence_is_what_was_just_realised_at_the_close(sign):
    panel = make_panel(T=40, N=4)
    w = windows(panel, 1)
    close = panel.view("close")
    want = np.nan_to_num(np.stack([returns(close, 1), returns(close, 5)], axis=2))
    want[0:2, :, 0] = want[0:6, :, 1] = 0  # the first label enters at row 1: nothing realised before rows 2 and 6
    assert np.allclose(forecast(Persistence(sign=sign), w), sign * at(want, w), rtol=0, atol=1e-14)


def test_persistence_is_what_was_just_realised_from_an_open():
    panel = make_panel(T=40, N=4)
    w = windows(panel, 1, "next_open", (1, 3))
    close, open_ = panel.view("close"), panel.view("open")
    want = np.zeros((40, 4, 2))
    want[1:, :, 0] = close[1:] / open_[1:] - 1
    want[3:, :, 1] = close[3:] / open_[1:-2] - 1
    assert np.allclose(forecast(Persistence(), w), at(want, w), rtol=0, atol=1e-14)


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("entry", ["next_open", "next_close"])
def test_equals_a_slow_loop_on_a_panel_with_suspensions(rows, entry):
    w = windows(make_panel(T=50, N=4, halts=0.2), rows, entry)
    label = w.label
    want = np.zeros((len(w), 2))
    moved = 0
    for i, (t, n) in enumerate(w.index):
        for o, h in enumerate(label.horizons):
            newest = t - h - (entry == "next_close")
            mine = [s for s in range(max(newest - rows + 1, 0), newest + 1) if label.end[s, n, o] >= 0]
            seen = [label.values[s, n, o] for s in mine if label.end[s, n, o] <= t]
            moved += len(mine) - len(seen)
            want[i, o] = np.mean(seen) if seen else 0
    assert moved > 0
    assert np.allclose(forecast(Momentum(lookback=rows), w), want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("model", [Persistence(), Momentum(lookback=5)])
def test_outcomes_after_t_are_not_read(model):
    panel = make_panel(T=60, N=4, halts=0.1)
    w = windows(panel, model.lookback)
    rewritten = {k: v.copy() for k, v in panel.fields.items()}
    for v in rewritten.values():
        v[31:] *= np.random.default_rng(1).uniform(0.5, 2, (29, 1))
        v[:, 2] *= np.linspace(1, 3, 60)
    other = windows(panel.replace(fields=rewritten), model.lookback)
    one = w.mask & (np.arange(60) == 30)[:, None]
    a, b = forecast(model, w.with_(mask=one)), forecast(model, other.with_(mask=one))
    keep = w.with_(mask=one).index[:, 1] != 2
    assert keep.sum() == 3
    assert np.array_equal(a[keep], b[keep])
    assert not np.array_equal(a[~keep], b[~keep])  # and the past of the listing itself is read


@pytest.mark.parametrize("model", NAMED)
def test_named_features_are_read_before_any_transform_and_never_after_t(model):
    panel = make_panel(T=60, N=4, halts=0.2)
    w = windows(panel, model.lookback)
    r = returns(panel.view("close")).astype(np.float32).astype(float)
    rows = [r[t - model.lookback + 1 : t + 1, n] for t, n in w.index]
    want = np.array([np.nanmean(v) if np.isfinite(v).any() else 0 for v in rows])
    out = forecast(model, w)
    assert np.isnan(r).any()
    assert np.allclose(out[:, 0], want, rtol=1e-12, atol=1e-16)
    assert np.array_equal(out[:, 0], out[:, 1])
    values = w.features.values.copy()
    values[31:] = 7
    values[:, 2] = 7
    cut = w.with_(mask=w.mask & (np.arange(60) == 30)[:, None])
    other = forecast(model, cut.with_(features=dataclasses.replace(w.features, values=values)))
    keep = cut.index[:, 1] != 2
    assert np.array_equal(other[keep], forecast(model, cut)[keep])
    assert (other[~keep] == 7).all()


def message(call):
    with pytest.raises(ConfigError) as e:
        call()
    return str(e.value)


def test_messages():
    w = windows(make_panel(), 1)
    assert message(lambda: forecast(Persistence(feature="roc"), w)) == (
        "persistence: no feature is called 'roc'; known: flat, return_1. Name one of them, or none"
    )
    assert message(lambda: forecast(Persistence(), w.with_(label=None))) == (
        "persistence: repeats the label's past outcomes, these windows carry no label; name a feature"
    )
    assert message(lambda: Momentum(sign=0)) == "momentum: sign must be 1 (goes on) or -1 (reverts), got 0"
    assert message(lambda: Momentum(lookback=0)) == "momentum: lookback must be >= 1, got 0"
    tokens = w.with_(features=Features(np.ones((60, 5, 2), np.int32), ("a", "b"), (1, 1)), affine=None)
    assert message(lambda: forecast(Persistence(feature="a"), tokens)) == (
        "persistence: reads 'a', these features are token ids; give it numeric ones"
    )
    assert np.isfinite(forecast(Persistence(), tokens)).all()
