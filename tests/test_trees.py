"""LightGBM: what it learns, what it lays out, determinism, early stopping, messages."""

import re
from concurrent.futures import ThreadPoolExecutor

import lightgbm as lgb
import numpy as np
import pytest

from hitherto.errors import ConfigError, DataError
from hitherto.features.base import Features
from hitherto.labels import Label
from hitherto.models.base import Context, Forecaster
from hitherto.models.targets import date_standardise
from hitherto.models.trees import LightGBM, TreesFit, input_names, last_rows
from hitherto.seeds import Stream
from hitherto.windows import Missing, Windows

SMALL = LightGBM(lookback=2, leaves=8, rounds=60, learning_rate=0.1, min_data=20, patience=10)
FOUR = ("a", "b", "c", "d")


def planted(T=140, N=20, seed=0, lookback=2, noise=0.2, holes=0.0, names=FOUR, mask_channel=False, lag=0):
    """Windows; output 0 is linear in a and b ``lag`` rows earlier, output 1 is noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (T, N, 4)).astype(np.float32)
    y = rng.normal(0, 1, (T, N, 2))
    y[lag:, :, 0] = noise * y[lag:, :, 0] + x[: T - lag, :, 0] - 0.5 * x[: T - lag, :, 1]
    x[rng.random(x.shape) < holes] = np.nan
    row = np.broadcast_to(np.arange(T, dtype=np.int32)[:, None, None], y.shape)
    label = Label(y, row + 1, row + 2, ("signal", "noise"), (1, 1))
    missing = Missing(max_share=1.0, mask_channel=mask_channel)
    return Windows(Features(x, names, (1,) * 4), label, np.ones((T, N), bool), lookback, missing=missing)


def stages(w, a=80, b=110):
    t = np.arange(w.mask.shape[0])[:, None]
    masks = (t < a, (t >= a) & (t < b), t >= b)
    return [w.with_(mask=w.mask & m) for m in masks]


def fit(model, train, valid=None, seed=0, **context) -> TreesFit:
    empty = train.with_(mask=np.zeros_like(train.mask))
    return model.fit(train, empty if valid is None else valid, rng=Stream(seed), context=Context(**context))


@pytest.mark.parametrize("lag", [0, 1])
def test_a_planted_line_is_learnt_and_noise_is_not(lag):
    train, valid, test = stages(planted(holes=0.02, lag=lag))
    events = []
    out = fit(SMALL, train, valid, emit=events.append).predict(test.with_(labelled=False))
    assert out.shape == (len(test), 2)
    assert out.dtype == np.float64
    y = test.targets()
    # 600 test samples. Signal 1.1 against noise .2; 60 small trees reach about .95, so .85 is far from luck.
    # On noise the correlation has s.e. .041: |r| > .17 is 4 s.e.
    assert np.corrcoef(out[:, 0], y[:, 0])[0, 1] > 0.85
    assert abs(np.corrcoef(out[:, 1] + 1e-12 * y[:, 0], y[:, 1])[0, 1]) < 0.17
    assert events[1]["trees"] < events[0]["trees"] <= 60


def test_same_seed_same_bits_another_seed_other_bits():
    train, valid, test = stages(planted())
    a, b, c = (fit(SMALL, train, valid, seed=s) for s in (3, 3, 4))
    assert a.texts == b.texts
    assert np.array_equal(a.predict(test), b.predict(test))
    assert not np.array_equal(a.predict(test), c.predict(test))
    threads = fit(SMALL, train, valid, seed=3, threads=2)
    assert np.array_equal(a.predict(test), threads.predict(test))


def test_the_saved_tensors_are_the_whole_model():
    train, valid, test = stages(planted())
    fitted = fit(SMALL, train, valid)
    saved = fitted.tensors()
    assert sorted(saved) == ["model_0", "model_1"]
    assert saved["model_0"].dtype == np.uint8
    again = [lgb.Booster(model_str=saved[f"model_{o}"].tobytes().decode()) for o in range(2)]
    x = last_rows("test", test, 2)
    assert np.array_equal(np.stack([b.predict(x) for b in again], axis=1), fitted.predict(test))


def test_validation_stops_early_and_never_trains():
    train, valid, test = stages(planted())
    events = []
    stopped = fit(SMALL, train, valid, emit=events.append)
    trees = events[1]["trees"]
    assert trees < 50
    # the same trees as a fit without validation, cut at the best round: validation chose their number, nothing else
    free = fit(SMALL, train, emit=events.append)
    assert events[3] == {"model": "lightgbm", "output": 1, "trees": 60, "valid_loss": None, "samples": len(train)}
    x = last_rows("test", test, 2)
    cut = free.boosters[1].predict(x, num_iteration=trees)
    assert np.array_equal(stopped.predict(test)[:, 1], cut)
    held = ((stopped.predict(valid)[:, 1] - valid.targets()[:, 1]) ** 2).mean()
    assert events[1]["valid_loss"] == pytest.approx(held, rel=1e-6)


def test_columns_are_the_last_rows_of_the_windows():
    w = planted(T=30, N=3, lookback=5, holes=0.1, mask_channel=True)
    x = last_rows("test", w, 3)
    names = input_names(w, 3)
    assert x.dtype == np.float32
    assert names == [f"{n}{s}" for s in ("@-2", "@-1", "") for n in (*FOUR, "missing")]
    for i in (0, 17, len(w) - 1):
        t, n = w.index[i]
        rows = w.features.values[t - 2 : t + 1, n]
        want = np.concatenate([np.nan_to_num(rows), np.isnan(rows).mean(1, keepdims=True)], axis=1)
        assert np.array_equal(x[i], want.astype(np.float32).ravel())


def test_names_that_lightgbm_forbids_are_cleaned_and_stay_distinct():
    w = planted(names=("mean(close, 20)/close", "mean(close,20)/close", 'a:"b"', "[x]{y}"), lookback=2)
    names = input_names(w, 2)
    assert len(set(names)) == 8
    assert not any(re.search(r'[\s",:\[\]{}]', n) for n in names)
    assert names[4] == "mean(close_20)/close"
    assert fit(SMALL, *stages(w)[:2]).boosters[0].feature_name() == names


@pytest.mark.parametrize("kind", ["cs_zscore", "cs_rank"])
def test_targets_are_standardised_per_date(kind):
    w = planted()
    label = Label(date_standardise(w.targets(), w.offsets, kind).reshape(139, 20, 2), *([w.label.start[1:]] * 2),
                  w.label.names, (1, 1))  # fmt: skip
    values = np.full(w.label.values.shape, np.nan)
    values[1:] = label.values
    by_hand = w.with_(label=Label(values, w.label.start, w.label.end, w.label.names, (1, 1)))
    model = LightGBM(lookback=2, rounds=5, min_data=20, target=kind)
    raw = LightGBM(lookback=2, rounds=5, min_data=20)
    assert np.array_equal(fit(model, w).predict(w), fit(raw, by_hand).predict(w))
    assert not np.array_equal(fit(model, w).predict(w), fit(raw, w).predict(w))


def test_one_by_one_equals_batch_bit_for_bit():
    train, valid, test = stages(planted())
    fitted = fit(SMALL, train, valid)
    whole = fitted.predict(test)
    for i in (0, 101, len(test) - 1):
        alone = test.with_(mask=np.zeros_like(test.mask))
        alone.mask[tuple(test.index[i])] = True
        assert np.array_equal(fitted.predict(alone), whole[i : i + 1])
    assert fitted.predict(test.with_(mask=np.zeros_like(test.mask))).shape == (0, 2)


def test_too_few_samples_for_one_split_forecast_the_mean():
    w = planted(T=10, N=3)
    out = fit(LightGBM(lookback=2), w).predict(w)
    assert np.allclose(out, w.targets().mean(0), atol=1e-6)


def test_unknown_labels_are_left_out_even_when_the_windows_keep_them():
    w = planted()
    w.label.values[5, :6, 1] = np.nan
    w.label.values[6, 0, 0] = np.inf
    kept = w.with_(labelled=False)
    assert len(kept) == len(w) + 7
    assert np.array_equal(fit(SMALL, kept).predict(w), fit(SMALL, w).predict(w))


def message(error, call):
    with pytest.raises(error) as e:
        call()
    return str(e.value)


def test_messages():
    w = planted(T=20)
    assert isinstance(LightGBM(), Forecaster)
    assert message(ConfigError, lambda: LightGBM(leaves=1)) == "lightgbm: leaves must be >= 2, got 1"
    assert message(ConfigError, lambda: LightGBM(row_share=0.0)) == "lightgbm: row_share must lie in (0, 1], got 0.0"
    assert message(ConfigError, lambda: LightGBM(l2=-1.0)) == "lightgbm: l2 must be finite and >= 0, got -1.0"
    assert message(ConfigError, lambda: LightGBM(target="z")) == (  # type: ignore[arg-type]
        "lightgbm: target must be one of raw, cs_zscore, cs_rank, got 'z'"
    )
    assert message(ConfigError, lambda: fit(LightGBM(), w)) == (
        "lightgbm: reads 5 rows, these windows hold 2; lengthen theirs"
    )
    assert message(DataError, lambda: fit(SMALL, w.with_(mask=np.zeros_like(w.mask)))) == (
        "lightgbm: no training sample has all its labels known; lengthen train or relax max_missing"
    )
    assert message(ConfigError, lambda: fit(SMALL, w).predict(planted(T=20, mask_channel=True))) == (
        "lightgbm: fitted on 8 inputs, these windows give 10; use the same features"
    )
    tokens = w.with_(features=Features(np.ones((20, 20, 2), np.int32), ("a", "b"), (1, 1)))
    assert message(ConfigError, lambda: fit(SMALL, tokens)) == (
        "lightgbm: needs numeric features, these are token ids; encode them first"
    )


def test_outputs_do_not_mix_and_fits_side_by_side_do_not_either():
    train, valid, test = stages(planted())
    together = fit(SMALL, train, valid).predict(test)

    def alone(o):
        old = train.label
        label = Label(old.values[..., o : o + 1], old.start[..., o : o + 1], old.end[..., o : o + 1], ("y",), (1,))
        return fit(SMALL, train.with_(label=label), valid.with_(label=label)).predict(test)

    with ThreadPoolExecutor(2) as pool:
        assert np.array_equal(np.concatenate(list(pool.map(alone, range(2))), axis=1), together)
