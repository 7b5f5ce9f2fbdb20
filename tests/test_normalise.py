"""Normalisation against pandas and by hand; what is fitted reads train rows only."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError, DataError
from hitherto.features import library, normalise
from hitherto.features.base import Features
from hitherto.features.normalise import (
    cross_sectional,
    ema_zscore,
    fit_robust_zscore,
    fit_zscore,
    rolling_zscore,
)

NAN = np.nan
KINDS = ("rank", "zscore", "robust_zscore")


def draw(T=30, N=12, F=3, seed=0, gaps=0.1):
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 2, (T, N, F)).astype(np.float32)
    values[..., 1] = rng.integers(0, 4, (T, N))
    values[rng.random(values.shape) < gaps] = NAN
    return Features(values, tuple("abc"[:F]), (1, 5, 2)[:F], ("close",)), rng.random((T, N)) < 0.8


def seen(features, mask, f):
    return pd.DataFrame(np.where(mask, features.values[..., f], NAN).astype(np.float64))


def one(values):
    """One feature, from rows of one date each."""
    x = np.atleast_2d(np.array(values, np.float32))
    return Features(x[..., None], ("x",), (1,)), np.ones(x.shape, bool)


def wanted(kind, x):
    if kind == "rank":
        count = x.notna().sum(axis=1)
        return (x.rank(axis=1).sub(1).div((count - 1).clip(lower=1), axis=0) - 0.5) * np.sqrt(12)
    if kind == "zscore":
        return x.sub(x.mean(axis=1), axis=0).div(x.std(axis=1), axis=0)
    d = x.sub(x.median(axis=1), axis=0)
    return d.div(d.abs().median(axis=1) * 1.4826, axis=0)


@pytest.mark.parametrize("kind", KINDS)
def test_cross_sectional_equals_pandas(kind, monkeypatch):
    features, mask = draw()
    empty = Features(features.values[:, :0], features.names, features.lookbacks)
    assert cross_sectional(empty, mask[:, :0], kind).values.shape == (30, 0, 3)
    out = cross_sectional(features, mask, kind)
    assert (out.names, out.lookbacks, out.fields) == (features.names, features.lookbacks, features.fields)
    assert out.values.dtype == np.float32
    for f in (0, 2) if kind == "robust_zscore" else range(3):
        np.testing.assert_allclose(out.values[..., f], wanted(kind, seen(features, mask, f)), rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(normalise, "CELLS", 1)
    assert cross_sectional(features, mask, kind).values.tobytes() == out.values.tobytes()


def test_ranks_fill_the_interval_and_average_ties():
    half = np.float32(np.sqrt(12) / 2)
    out = cross_sectional(*one([[3, 1, 2, NAN], [5, 5, 7, 1], [NAN, NAN, 9, NAN], [4, 4, 4, 4]])).values[..., 0]
    np.testing.assert_array_equal(out[0], [half, -half, 0, NAN])
    np.testing.assert_allclose(out[1], [0, 0, half, -half], atol=1e-7)
    np.testing.assert_array_equal(out[2], [NAN, NAN, 0, NAN])
    np.testing.assert_array_equal(out[3], [0, 0, 0, 0])


def test_robust_zscore_by_hand():
    out = cross_sectional(*one([[1, 2, 3, 4, 100], [5, 5, 5, 5, 10], [2, 2, 2, 2, 2]]), "robust_zscore").values[..., 0]
    np.testing.assert_allclose(out[0], np.array([-2, -1, 0, 1, 97]) / 1.4826, rtol=1e-6)
    np.testing.assert_allclose(out[1], np.array([0, 0, 0, 0, 5]) / np.sqrt(5.0), rtol=1e-6)  # zero MAD: the deviation
    np.testing.assert_array_equal(out[2], np.zeros(5))


@given(st.integers(0, 500), st.sampled_from(KINDS), st.permutations(range(12)), st.integers(0, 28))
def test_cross_sectional_reads_its_own_date_and_any_order_of_names(seed, kind, order, t):
    features, mask = draw(seed=seed)
    out = cross_sectional(features, mask, kind).values
    cut = Features(features.values[: t + 1], features.names, features.lookbacks)
    assert cross_sectional(cut, mask[: t + 1], kind).values.tobytes() == out[: t + 1].tobytes()
    turned = Features(features.values[:, order], features.names, features.lookbacks)
    np.testing.assert_allclose(
        cross_sectional(turned, mask[:, order], kind).values, out[:, order], rtol=1e-6, atol=1e-6
    )
    outside = np.where(mask[..., None], features.values, np.float32(1e9))
    other = cross_sectional(Features(outside, features.names, features.lookbacks), mask, kind).values
    assert other.tobytes() == out.tobytes()
    assert np.isnan(out[~mask]).all()


def test_fits_by_hand():
    features, mask = one([[1, 2, 3], [4, 100, NAN], [7, 7, 7]])
    rows = np.array([True, True, False])
    robust = fit_robust_zscore(features, rows, mask)
    assert robust.shift[0] == 3
    assert robust.scale[0] == pytest.approx(1 / 1.4826, rel=1e-6)  # distances 2 1 0 1 97
    assert robust.limit == 3.0
    x = features.values.copy()
    robust.apply(x)
    np.testing.assert_allclose(x[:2, :, 0], [[-2 / 1.4826, -1 / 1.4826, 0], [1 / 1.4826, 3, NAN]], rtol=1e-6)
    plain = fit_zscore(features, rows, mask)
    known = np.array([1, 2, 3, 4, 100.0])
    assert plain.shift[0] == pytest.approx(known.mean())
    assert plain.scale[0] == pytest.approx(1 / known.std(), rel=1e-6)
    assert plain.limit == np.inf


def test_a_fit_without_spread():
    features, mask = one([[5, 5, 5], [5, 5, 9]])
    rows = np.array([True, True])
    assert fit_robust_zscore(features, rows, mask).scale[0] == pytest.approx(1 / np.std([5, 5, 5, 5, 5, 9]), rel=1e-6)
    flat = fit_robust_zscore(one([[0.1, 0.1, 0.1], [5, 6, 7]])[0], np.array([True, False]), mask)
    assert flat.scale[0] == 0
    x = np.array([[7.0], [NAN]], np.float32)
    flat.apply(x)
    np.testing.assert_array_equal(x[:, 0], [0, NAN])
    assert fit_zscore(one([[1e-42, 2e-42, 3e-42]])[0], np.array([True]), np.ones((1, 3), bool)).scale[0] == 0


@pytest.mark.parametrize("fit", [fit_robust_zscore, fit_zscore])
def test_fits_read_train_rows_and_masked_names_only(fit):
    for seed in range(10):
        features, mask = draw(seed=seed)
        rows = np.arange(30) < 18
        fitted = fit(features, rows, mask)
        spoilt = np.where((rows[:, None] & mask)[..., None], features.values, np.float32(-1e6))
        again = fit(Features(spoilt, features.names, features.lookbacks), rows, mask)
        assert fitted.shift.tobytes() == again.shift.tobytes()
        assert fitted.scale.tobytes() == again.scale.tobytes()
        leaky = fit(features, np.ones(30, bool), mask)  # the mistake this guards against is visible
        assert leaky.shift.tobytes() != fitted.shift.tobytes()


def test_each_row_counts_once():
    features, mask = draw(gaps=0.0)
    x = features.values[:18][mask[:18]].astype(np.float64)
    fitted = fit_robust_zscore(features, np.arange(30) < 18, mask)
    median = np.median(x, axis=0)
    np.testing.assert_allclose(fitted.shift, median, rtol=1e-6)
    np.testing.assert_allclose(fitted.scale, 1 / (1.4826 * np.median(np.abs(x - median), axis=0)), rtol=1e-6)


def test_rolling_zscore_equals_pandas():
    features, _ = draw(T=40)
    out = rolling_zscore(features, 6)
    assert out.lookbacks == (6, 10, 7)
    for f in range(3):
        x = pd.DataFrame(features.values[..., f].astype(np.float64))
        roll = x.rolling(6, min_periods=1)
        want = (x - roll.mean()) / roll.std()
        want = want.mask(roll.std().abs() < 1e-12, 0.0 * x)
        np.testing.assert_allclose(out.values[..., f], want, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_ema_zscore_equals_pandas():
    features, _ = draw(T=60)
    out = ema_zscore(features, 4)
    assert out.lookbacks == (library.UNBOUNDED,) * 3
    x = pd.DataFrame(features.values[..., 0].astype(np.float64))
    frame = x.ewm(halflife=4, min_periods=1)
    want = (x - frame.mean()) / np.sqrt(frame.var(bias=True))
    got = out.values[..., 0]
    first = np.isfinite(x).to_numpy().cumsum(axis=0) == 1
    assert (got[first & np.isfinite(x)] == 0).all()
    np.testing.assert_allclose(got[~first], want.to_numpy()[~first], rtol=1e-5, atol=1e-5, equal_nan=True)


@given(st.integers(0, 500), st.integers(0, 28), st.integers(1, 20))
def test_time_transforms_are_causal(seed, t, start):
    features, _ = draw(seed=seed, gaps=0.2)
    later = (np.arange(30) > t)[:, None, None]
    future = Features(np.where(later, np.float32(1e6), features.values), features.names, features.lookbacks)
    for transform in (lambda f: rolling_zscore(f, 5), lambda f: ema_zscore(f, 3.5)):
        assert transform(features).values[: t + 1].tobytes() == transform(future).values[: t + 1].tobytes()
    shorter = Features(features.values[start:], features.names, features.lookbacks)
    assert rolling_zscore(features, 5).values[start + 4 :].tobytes() == rolling_zscore(shorter, 5).values[4:].tobytes()


def test_messages():
    features, mask = draw()
    rows = np.ones(30, bool)
    tokens = Features(np.zeros((30, 12, 3), np.int32), tuple("abc"), (1, 1, 1))
    cases = {
        "cross_sectional: there is no kind 'ranks'; the nearest is 'rank' of rank, zscore, robust_zscore":
            lambda: cross_sectional(features, mask, "ranks"),  # type: ignore[arg-type]
        "cross_sectional: these features are token ids, which have no scale; encode them first":
            lambda: cross_sectional(tokens, mask),
        "cross_sectional: mask must be bool of shape (30, 12), got bool (12, 30)":
            lambda: cross_sectional(features, mask.T),
        "fit_zscore: rows must be 30 booleans, one per row; got int64 (3,)":
            lambda: fit_zscore(features, np.arange(3), mask),
        "fit_robust_zscore: limit must be above 0, got 0": lambda: fit_robust_zscore(features, rows, mask, 0),
        "rolling_zscore: n must be a whole number of rows >= 2, got 1": lambda: rolling_zscore(features, 1),
        "ema_zscore: halflife must be a number of rows above 0, got 0": lambda: ema_zscore(features, 0),
    }  # fmt: skip
    for message, call in cases.items():
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
    values = features.values.copy()
    values[:18, :, 2] = NAN
    with pytest.raises(DataError) as error:
        fit_robust_zscore(Features(values, features.names, features.lookbacks), np.arange(30) < 18, mask)
    assert str(error.value) == (
        "fit_robust_zscore: feature 'c' has no known value on the 18 train rows; leave it out, or start training later"
    )


def test_features_of_a_panel_normalise_end_to_end():
    panel = make_panel(T=90, N=8, halts=0.05)
    features = library.build(panel, library.price_volume())
    mask = panel.listed & ~panel.suspended
    ranked = cross_sectional(features, mask)
    assert np.nanmax(np.abs(ranked.values)) <= np.float32(np.sqrt(12) / 2)
    assert np.isnan(ranked.values[~mask]).all()
    affine = fit_robust_zscore(features, np.arange(90) < 80, mask)
    assert np.isfinite(affine.shift).all()
    assert (affine.scale > 0).all()


def test_real_prices_give_known_numbers():
    file = Path(__file__).resolve().parents[2] / "shared" / "data" / "ashare" / "csi300_ever_daily.parquet"
    if not file.exists():
        pytest.skip(f"real data absent: {file.name}")
    import polars as pl

    rows = pl.scan_parquet(file).filter(pl.col("symbol").cast(pl.String) == "SH600000").head(300).collect()
    columns = {
        k: rows[k].to_numpy().astype(np.float64)[:, None] for k in ("open", "high", "low", "close", "volume", "factor")
    }
    idle = columns["volume"] == 0
    fields = {k: v if k == "factor" else np.where(idle, NAN, v) for k, v in columns.items()}
    toy = make_panel(T=len(rows), N=1)
    panel = toy.replace(fields=fields, suspended=idle, adjustment="factor")
    built = library.build(panel, library.price_volume())
    close = pd.Series((fields["close"] * fields["factor"])[:, 0])
    got = dict(zip(built.names, built.values[:, 0].T, strict=True))
    np.testing.assert_allclose(got["ma_20"], close.rolling(20, min_periods=1).mean() / close, rtol=1e-6)
    np.testing.assert_allclose(got["std_20"], close.rolling(20, min_periods=1).std() / close, rtol=1e-6)
    np.testing.assert_allclose(got["roc_60"], close.shift(60) / close, rtol=1e-6)
    np.testing.assert_allclose(got["kmid"], ((fields["close"] / fields["open"]) - 1)[:, 0], rtol=1e-4, atol=1e-7)
