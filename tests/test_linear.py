"""Ridge: scikit-learn as the oracle, the choice of alpha, invariances, messages."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as Sklearn

from hitherto.errors import ConfigError, DataError
from hitherto.features.base import Affine, Features
from hitherto.labels import Label
from hitherto.models import linear
from hitherto.models.base import Context, Forecaster
from hitherto.models.linear import FALLBACK, RATIOS, Ridge
from hitherto.models.targets import date_standardise
from hitherto.seeds import Stream
from hitherto.windows import Missing, Windows


def planted(T=60, N=12, F=4, O=2, seed=0, noise=0.5, lookback=1, mean=0.0, holes=0.0):  # noqa: E741
    """Windows whose labels are a linear function of the last row plus noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, 1, (T, N, F)).astype(np.float32)
    y = x.astype(float) @ rng.normal(0, 1, (F, O)) + noise * rng.normal(0, 1, (T, N, O)) + 0.3
    x[rng.random(x.shape) < holes] = np.nan
    row = np.broadcast_to(np.arange(T, dtype=np.int32)[:, None, None], y.shape)
    label = Label(y, row + 1, row + 2, tuple(f"y{o}" for o in range(O)), (1,) * O)
    features = Features(x, tuple(f"x{f}" for f in range(F)), (1,) * F)
    return Windows(features, label, np.ones((T, N), bool), lookback, missing=Missing(max_share=1.0))


def stages(w, cut=40):
    early = (np.arange(w.mask.shape[0]) < cut)[:, None]
    return w.with_(mask=w.mask & early), w.with_(mask=w.mask & ~early)


def matrices(w, lookback=1):
    parts = [(b.x[-lookback:].transpose(1, 0, 2).reshape(len(b.t), -1), b) for b in w.batches(1)]
    return np.concatenate([x for x, _ in parts]).astype(float), w.targets()


def fit(model, w, valid=None, **context):
    empty = w.with_(mask=np.zeros_like(w.mask))
    return model.fit(w, empty if valid is None else valid, rng=Stream(0), context=Context(**context))


@pytest.mark.parametrize(("lookback", "have"), [(1, 1), (3, 3), (2, 5)])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 300.0])
def test_equals_scikit_learn(lookback, have, alpha, monkeypatch):
    monkeypatch.setattr(linear, "BATCH", 100)  # several batches: the sums really stream
    w = planted(lookback=have, mean=3.0, holes=0.05)
    fitted = fit(Ridge(lookback=lookback, alpha=alpha), w)
    x, y = matrices(w, lookback)
    oracle = (Sklearn(alpha=alpha, solver="svd") if alpha else LinearRegression()).fit(x, y)
    assert np.abs(fitted.coef - oracle.coef_).max() < 1e-8
    assert np.abs(fitted.intercept - oracle.intercept_).max() < 1e-8
    assert np.abs(fitted.predict(w) - oracle.predict(x)).max() < 1e-8
    assert np.array_equal(fitted.alpha, [alpha, alpha])


def test_large_means_cost_no_digits():
    # uncentred sums of squares near 1e8 would leave about 1e-8 of the variance; the shift keeps it
    w = planted(mean=1e4, N=40)
    x, y = matrices(w)
    oracle = LinearRegression().fit(x - x.mean(0), y)
    assert np.abs(fit(Ridge(alpha=0.0), w).coef - oracle.coef_).max() < 1e-10


@pytest.mark.parametrize("kind", ["cs_zscore", "cs_rank"])
def test_targets_are_standardised_per_date(kind, monkeypatch):
    monkeypatch.setattr(linear, "BATCH", 100)
    w = planted()
    x, y = matrices(w)
    oracle = Sklearn(alpha=2.0, solver="svd").fit(x, date_standardise(y, w.offsets, kind))
    assert np.abs(fit(Ridge(alpha=2.0, target=kind), w).coef - oracle.coef_).max() < 1e-8


def test_alpha_is_chosen_per_output_by_the_validation_error():
    w = planted(F=30, noise=6.0, O=3)
    w.label.values[..., 2] = w.features.values[
        ..., 0
    ]  # an exact output wants the smallest penalty, a noisy one does not
    train, valid = stages(w)
    events = []
    fitted = fit(Ridge(), train, valid, emit=events.append)
    (x, y), (xv, yv) = matrices(train), matrices(valid)
    scale = np.mean(((x - x.mean(0)) ** 2).sum(0))
    alphas = scale * np.array(RATIOS)
    loss = np.array([((Sklearn(alpha=a, solver="svd").fit(x, y).predict(xv) - yv) ** 2).mean(0) for a in alphas])
    assert np.allclose(fitted.alpha, alphas[loss.argmin(0)], rtol=1e-9)
    assert fitted.alpha[2] < fitted.alpha[0]
    assert np.allclose(events[-1]["valid_loss"], loss.min(0), rtol=1e-9, atol=1e-12)
    assert events[-1]["alpha"] == fitted.tensors()["alpha"].tolist()


def test_without_validation_windows_the_documented_penalty_is_used():
    train = planted()
    x, _ = matrices(train)
    assert np.allclose(fit(Ridge(), train).alpha, FALLBACK * np.mean(((x - x.mean(0)) ** 2).sum(0)))


def test_a_planted_line_is_learnt_and_the_test_labels_are_not_seen():
    w = planted(T=200, noise=0.1)
    train, rest = stages(w, 120)
    fitted = fit(Ridge(), train, rest.with_(mask=rest.mask & (np.arange(200) < 160)[:, None]))
    test = rest.with_(mask=rest.mask & (np.arange(200) >= 160)[:, None], labelled=False)
    # noise deviation 0.1 against a signal of about 2: the correlation is above .99 whatever the draw
    assert np.corrcoef(fitted.predict(test)[:, 0], test.targets()[:, 0])[0, 1] > 0.99
    w.label.values[160:] = np.nan
    assert np.isfinite(fitted.predict(test)).all()


def test_permuting_listings_permutes_the_forecasts():
    w = planted()
    p = np.random.default_rng(1).permutation(12)
    label = dataclasses.replace(w.label, values=w.label.values[:, p], start=w.label.start[:, p], end=w.label.end[:, p])
    v = w.with_(features=dataclasses.replace(w.features, values=w.features.values[:, p]), label=label)
    a = fit(Ridge(alpha=1.0), w).predict(w).reshape(60, 12, 2)
    b = fit(Ridge(alpha=1.0), v).predict(v).reshape(60, 12, 2)
    assert np.abs(a[:, p] - b).max() < 1e-12


@settings(max_examples=20)
@given(st.integers(0, 59), st.integers(0, 11), st.integers(1, 5))
def test_one_by_one_equals_batch_bit_for_bit(t, n, lookback):
    w = planted(lookback=lookback, holes=0.1)
    fitted = fit(Ridge(lookback=lookback, alpha=1.0), w)
    alone = w.with_(mask=np.zeros_like(w.mask))
    alone.mask[t, n] = True
    row = np.flatnonzero((w.index == (t, n)).all(1))
    assert len(row) == (t >= lookback - 1)
    assert np.array_equal(fitted.predict(alone), fitted.predict(w)[row])


def test_same_input_same_bits_and_predicting_changes_nothing():
    w = planted()
    a, b = fit(Ridge(alpha=1.0), w), fit(Ridge(alpha=1.0), w)
    first = a.predict(w)
    assert np.array_equal(first, b.predict(w))
    assert np.array_equal(first, a.predict(w))
    assert {k: v.shape for k, v in a.tensors().items()} == {"coef": (2, 4), "intercept": (2,), "alpha": (2,)}


def test_unknown_labels_are_left_out_even_when_the_windows_keep_them():
    w = planted(noise=0.0)
    w.label.values[5, :6, 1] = np.nan
    w.label.values[6, 0, 0] = np.inf
    kept = w.with_(labelled=False)
    assert len(kept) > len(w)
    assert np.abs(fit(Ridge(alpha=1.0), kept).coef - fit(Ridge(alpha=1.0), w).coef).max() < 1e-10


def test_constant_inputs_forecast_the_mean():
    w = planted(T=20)
    w.features.values[:] = np.float32(0.1)
    out = fit(Ridge(), w, w).predict(w)
    assert np.allclose(out, w.targets().mean(0), atol=1e-9)
    w.features.values[:] = np.float32(0.1000001)
    assert np.abs(fit(Ridge(), w, w).predict(w) - out).max() < 1e-9


def message(error, call):
    with pytest.raises(error) as e:
        call()
    return str(e.value)


def test_messages():
    w = planted()
    assert isinstance(Ridge(), Forecaster)
    assert message(ConfigError, lambda: Ridge(alpha=-1.0)) == (
        "ridge: alpha must be a finite number >= 0 or left out, got -1.0"
    )
    assert message(ConfigError, lambda: Ridge(lookback=0)) == "ridge: lookback must be >= 1, got 0"
    assert message(ConfigError, lambda: Ridge(target="rank")) == (  # type: ignore[arg-type]
        "ridge: target must be one of raw, cs_zscore, cs_rank, got 'rank'"
    )
    assert message(ConfigError, lambda: fit(Ridge(lookback=3), w)) == (
        "ridge: reads 3 rows, these windows hold 1; lengthen theirs"
    )
    assert message(DataError, lambda: fit(Ridge(), w.with_(mask=np.zeros_like(w.mask)))) == (
        "ridge: no training sample has all its labels known; lengthen train or relax max_missing"
    )
    assert message(ConfigError, lambda: fit(Ridge(), w.with_(label=None, labelled=False))) == (
        "ridge: these windows carry no label; fit on labelled ones"
    )
    assert message(ConfigError, lambda: fit(Ridge(alpha=1.0), w).predict(planted(F=5))) == (
        "ridge: fitted on 4 inputs, these windows give 5; use the same features"
    )
    huge = w.with_(affine=Affine(np.zeros(4, np.float32), np.full(4, np.inf, np.float32)))
    assert message(DataError, lambda: fit(Ridge(), huge)) == (
        "ridge: the inputs hold inf or NaN; limit the transform or use a finite fill"
    )


@pytest.mark.parametrize("kind", ["repeats", "constant"])
def test_a_singular_system_is_refused_not_solved(kind):
    w = planted()
    w.features.values[..., 3] = w.features.values[..., 0] if kind == "repeats" else 0.1
    assert message(DataError, lambda: fit(Ridge(alpha=0.0), w)) == (
        "ridge: alpha = 0 leaves a singular system of 4 inputs (some are constant or repeat others); use a larger alpha"
    )
    assert np.isfinite(fit(Ridge(alpha=1.0), w).coef).all()
