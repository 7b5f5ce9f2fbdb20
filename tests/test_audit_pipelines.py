"""Fit/predict objects under audit: every leak of a fit is caught with its class and reach, honest ones are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hitherto.audit import audit, fitted, made_up_panel
from hitherto.audit.pipelines import fresh, from_estimator, from_pipeline, other_order, trained_on_test
from hitherto.audit.probes import determinism, rewriting
from hitherto.audit.probes import refit as p3
from hitherto.audit.refits import replay
from hitherto.errors import ConfigError
from hitherto.seeds import Stream

RNG = Stream(0, "test")
ROWS, TEST = 200, 120  # 0.6 of the rows
HORIZON = 3


def wide(frame, name):
    return frame[name].unstack().ffill()


def inputs(frame):
    close, volume = wide(frame, "close"), wide(frame, "volume")
    made = {
        "m5": close.pct_change(5), "m10": close.pct_change(10), "v": np.log(volume / volume.rolling(5).mean()),
        "level": np.log(close),
    }  # fmt: skip
    return pd.DataFrame({k: v.stack() for k, v in made.items()}).reindex(frame.index).dropna()


def ahead(frame, horizon=HORIZON):
    close = wide(frame, "close")
    return (close.shift(-horizon) / close - 1).stack().reindex(frame.index)


class Base:
    """Inputs and labels, train rows by the first 60 % of the dates, purged by the label's horizon."""

    purge = HORIZON

    def split(self, frame):
        x, y = self.inputs(frame), ahead(frame).dropna()
        rows = x.index.intersection(y.index, sort=False)
        dates = frame.index.get_level_values(0).unique()
        cut = dates[int(len(dates) * 0.6) - self.purge]
        return x.loc[rows], y.loc[rows], rows.get_level_values(0) < cut

    def inputs(self, frame):
        return inputs(frame)

    def predict(self, frame):
        x = self.inputs(frame)
        return pd.Series(self.model.predict(self.prepared(x)), x.index)

    def prepared(self, x):
        return x


class Honest(Base):
    def fit(self, frame):
        x, y, train = self.split(frame)
        self.scaler = StandardScaler().fit(x[train])
        self.model = Ridge(100.0).fit(self.scaler.transform(x[train]), y[train])

    def prepared(self, x):
        return self.scaler.transform(x)


class Unpurged(Honest):
    purge = 0


class ScalerOnAll(Honest):
    """L05: the scaler saw every row, the model the train rows only."""

    def fit(self, frame):
        x, y, train = self.split(frame)
        self.scaler = StandardScaler().fit(x)
        self.model = Ridge(100.0).fit(self.scaler.transform(x[train]), y[train])


class Encoded(Base):
    """L17: the mean label of each listing over all rows is an input."""

    everything = True

    def fit(self, frame):
        x, y, train = self.split(frame)
        known = y if self.everything else y[train]
        self.means = known.groupby(level=1).mean()
        self.model = Ridge(1e-6).fit(self.prepared(x[train]), y[train])

    def prepared(self, x):
        x = x.droplevel(0).index.map(self.means)
        return np.asarray(x, float)[:, None]


class EncodedOnTrain(Encoded):
    everything = False


class Selected(Base):
    """L18: of many empty inputs, those with the highest correlation over all rows are kept."""

    everything = True

    def inputs(self, frame):
        volume = np.log(wide(frame, "volume"))
        made = {f"v{k}": volume.diff(k) for k in range(1, 11)}
        return pd.DataFrame({k: v.stack() for k, v in made.items()}).reindex(frame.index).dropna()

    def fit(self, frame):
        x, y, train = self.split(frame)
        rows = slice(None) if self.everything else train
        strength = x[rows].corrwith(y[rows]).abs()
        self.chosen = sorted(strength.nlargest(2).index)
        self.model = Ridge().fit(self.prepared(x[train]), y[train])

    def prepared(self, x):
        return x[self.chosen].to_numpy()


class SelectedOnTrain(Selected):
    everything = False


class Stopped(Base):
    """L20: boosting stops where the error on the test rows is smallest."""

    on_test = True

    def fit(self, frame):
        from lightgbm import LGBMRegressor, early_stopping

        x, y, train = self.split(frame)
        dates = x.index.get_level_values(0)
        middle = dates[train].unique()[70]
        learn = train & (dates < middle)
        watch = ~train if self.on_test else train & (dates >= middle)
        self.model = LGBMRegressor(n_estimators=40, num_leaves=4, learning_rate=0.3, verbose=-1, n_jobs=1)
        stop = [early_stopping(3, verbose=False)]
        self.model.fit(x[learn], y[learn], eval_X=x[watch], eval_y=y[watch], callbacks=stop)


class StoppedOnTrain(Stopped):
    on_test = False


class Unseeded(Honest):
    def fit(self, frame):
        x, y, train = self.split(frame)
        self.scaler = StandardScaler().fit(x[train])
        self.model = RandomForestRegressor(3, max_depth=3, n_jobs=1).fit(self.scaler.transform(x[train]), y[train])


class Standing(Base):
    """Fits nothing: a rule."""

    def fit(self, frame):
        pass

    def predict(self, frame):
        return inputs(frame)["m5"]


class BatchRank(Honest):
    """L06: predictions depend on how the listings happen to be ordered."""

    def predict(self, frame):
        said = super().predict(frame)
        return said + said.groupby(level=0).cumcount() * said.std()


class RescaledAtPrediction(Honest):
    """L04: predictions are scaled by the statistics of all rows that are asked at once."""

    def predict(self, frame):
        said = super().predict(frame)
        return (said - said.mean()) / said.std()


class WalkForward(Base):
    """Honest: fits a model every 20 dates on what was known then, all of them in ``fit``."""

    def fit(self, frame):
        x, y = self.inputs(frame), ahead(frame).dropna()
        rows = x.index.intersection(y.index, sort=False)
        dates = frame.index.get_level_values(0).unique()
        self.models = {}
        for first in range(TEST, len(dates), 20):
            known = rows[rows.get_level_values(0) <= dates[first - HORIZON]]
            self.models[dates[first]] = Ridge(100.0).fit(x.loc[known], y.loc[known])

    def predict(self, frame):
        x = self.inputs(frame)
        when = x.index.get_level_values(0)
        starts = sorted(self.models)
        parts = []
        for first, end in zip(starts, [*starts[1:], None], strict=True):
            part = x[(when >= first) & ((when < end) if end is not None else True)]
            if len(part):
                parts.append(pd.Series(self.models[first].predict(part), part.index))
        return pd.concat(parts) if parts else pd.Series(dtype=float, index=x.index[:0])


class DropsOutliers(Honest):
    """Honest: does not predict where a move was large, so that the number of rows asked for changes."""

    def predict(self, frame):
        x = self.inputs(frame)
        x = x[x.m5.abs() < 0.05]
        return pd.Series(self.model.predict(self.prepared(x)), x.index)


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=ROWS, listings=8, seed=3)


def refitted(make, market):
    """P3 at the first test row, with the follow-up that names the learner."""
    parts = from_pipeline(make, market)
    cut = np.array([parts.rows[0]])
    seen = p3.probe(parts.refit, market, cut, RNG)
    return parts.refit.explain(seen, market, RNG)


PLANTED = [
    # class, learner, bars past the first test row that matter: up to the last row whose label is known (the scaler), or
    # to the last label's end. A choice of columns does not feel a single bar, so that its reach is a lower bound.
    (ScalerOnAll, "L05", "scaler.mean_", ROWS - 1 - TEST - HORIZON),
    (Encoded, "L17", "means", ROWS - 1 - TEST),
    (Selected, "L18", "chosen", None),
    (Stopped, "L20", "model._Booster.best_iteration", ROWS - 1 - TEST),
    (Unpurged, "L14", "model.coef_", HORIZON - 1),
]


@pytest.mark.parametrize(("make", "leak", "first", "reach"), PLANTED, ids=[p[0].__name__ for p in PLANTED])
def test_a_leaking_fit_is_caught_with_class_reach_and_learner(market, make, leak, first, reach):
    seen = refitted(make, market)
    assert seen.status == "LEAK"
    (found,) = seen.findings
    assert (found.leak, found.probe, found.hits) == (leak, "P3", 1)
    # A count of rounds need not change with the first future that is tried; eight are.
    assert (found.of, found.tried) == ("cuts", 1) or (leak == "L20" and found.of == "futures" and found.tried <= 8)
    assert found.where == f"refit of {make.__name__}.prediction"
    assert found.note.endswith(f"first moved: {first}")
    assert found.reach == reach if reach is not None else found.reach > HORIZON
    assert found.first == str(market.sessions[TEST])
    assert found.old != found.new


@pytest.mark.parametrize("make", [Honest, EncodedOnTrain, SelectedOnTrain, StoppedOnTrain], ids=lambda m: m.__name__)
def test_honest_twins_pass_every_probe_and_the_planted_leak_travels_through_their_fit(market, make):
    report = audit(from_pipeline(make, market))
    assert report.exit_code == 0, report.to_text()
    assert {r.probe for r in report.results} >= {"P0", "P1", "P2", "P3"}
    planted = [c for c in report.canaries if c.leak == f"refit of {make.__name__} that trains on the test rows"]
    assert [c.caught for c in planted] == [True]
    seen = refitted(make, market)
    assert (seen.status, seen.findings) == ("ok", ())
    assert seen.detail == ""


def test_a_rule_that_fits_nothing_passes_and_is_said_to_have_shown_nothing_about_fitting(market):
    report = audit(from_pipeline(Standing, market))
    assert report.exit_code == 0, report.to_text()
    said = "whether P3 could see this object's fit: training it on its test rows moved no prediction"
    assert said in report.not_assessed


def test_an_unseeded_fit_is_found_by_p0_and_its_noise_is_the_tolerance_of_p3(market):
    # Chance of failing by luck: two equal fits of three shallow trees on bootstraps of 1,300 rows agree in every one of
    # 900 numbers, or differ from a third by more than four times their largest difference: below 1e-6.
    parts = from_pipeline(Unseeded, market)
    noise = determinism.probe(parts.refit, market, None, None)
    assert [(f.leak, f.note) for f in noise.findings] == [("L32", "two equal runs differ")]
    assert noise.noise["prediction"] > 1e-3
    seen = p3.probe(parts.refit, market, np.array([parts.rows[0]]), RNG, noise=noise.noise)
    assert parts.refit.explain(seen, market, RNG).status == "ok"
    report = audit(parts)
    assert [(f.leak, f.where) for f in report.findings] == [("L32", "refit of Unseeded.prediction")]
    assert report.noise_floor["refit of Unseeded"] > 1e-3


def test_predictions_scaled_by_all_rows_at_once_are_found_in_the_frozen_object(market):
    report = audit(from_pipeline(RescaledAtPrediction, market))
    (found,) = [f for f in report.findings if f.probe == "P2"]
    assert (found.leak, found.where) == ("L04", "RescaledAtPrediction.prediction")


def test_the_order_of_listings_must_not_matter(market):
    honest, guilty = from_pipeline(Honest, market), from_pipeline(BatchRank, market)
    assert other_order(honest.frozen, market, RNG).status == "ok"
    (found,) = guilty.order(RNG).findings
    assert (found.leak, found.probe, found.of, found.note) == ("L06", "P4", "numbers", "listings in another order")
    assert found.hits > found.tried / 2


class Learning(Honest):
    """L07: predicting goes on with learning."""

    def predict(self, frame):
        said = super().predict(frame)
        self.model.intercept_ = self.model.intercept_ + float(said.mean())
        return said


class Caching(Honest):
    """Honest: keeps what it said last."""

    def predict(self, frame):
        self.last = super().predict(frame)
        return self.last


def test_an_object_that_learns_at_prediction_is_found_and_a_cache_is_told(market):
    (found,) = from_pipeline(Learning, market).order(RNG).findings
    assert (found.leak, found.note) == ("L07", "two equal calls differ; state mutated: model.intercept_")
    kept = from_pipeline(Caching, market).order(RNG)
    assert (kept.status, kept.detail) == ("ok", "state mutated: last")


@pytest.mark.parametrize(("make", "detail"), [
    (WalkForward, "fitted state 'models.2018-07-16 00:00:00.coef_' depends on rows past the cut, no prediction moved"),
    (DropsOutliers, ""),
], ids=["WalkForward", "DropsOutliers"])  # fmt: skip
def test_honest_fits_in_unusual_ways_are_not_flagged(market, make, detail):
    seen = refitted(make, market)
    assert (seen.status, seen.findings, seen.detail) == ("ok", (), detail)


def test_a_state_that_moves_without_a_prediction_is_told_and_no_leak(market):
    class Unused(Honest):
        def fit(self, frame):
            super().fit(frame)
            self.middle = float(frame.close.mean())

    seen = refitted(Unused, market)
    assert (seen.status, seen.findings) == ("ok", ())
    assert seen.detail == "fitted state 'middle' depends on rows past the cut, no prediction moved"


# ---- estimators ----
@pytest.mark.parametrize("model", [make_pipeline(StandardScaler(), Ridge(100.0)), "lightgbm", "classes"], ids=str)
@pytest.mark.parametrize(("rows", "leak", "reach"), [("train", None, 0), ("unpurged", "L14", 2), ("all", "L05", 79)])
def test_the_rows_an_estimator_is_fitted_on_are_audited(market, model, rows, leak, reach):
    label = ahead
    if model == "lightgbm":
        lightgbm = pytest.importorskip("lightgbm")
        model = lightgbm.LGBMRegressor(n_estimators=5, num_leaves=7, verbose=-1, n_jobs=1)
    elif model == "classes":
        model = LogisticRegression()

        def label(frame):
            y = ahead(frame)
            return (y.dropna() > 0).astype(int)

    parts = from_estimator(model, inputs, label, market, fit_rows=rows)
    seen = p3.probe(parts.refit, market, np.array([parts.rows[0]]), RNG)
    seen = parts.refit.explain(seen, market, RNG)
    assert [f.leak for f in seen.findings] == ([leak] if leak else [])
    if leak and isinstance(model, LogisticRegression | type(make_pipeline(Ridge()))):
        assert seen.findings[0].reach == reach


def test_inputs_and_batches_of_an_estimator_are_audited(market):
    report = audit(from_estimator(Ridge(), inputs, ahead, market))
    assert report.exit_code == 0, report.to_text()
    assert [r.target for r in report.results if r.probe in ("P2", "P4")] == ["features", "Ridge", "Ridge", "Ridge"]

    def scaled(frame):
        x = inputs(frame)
        return (x - x.mean()) / x.std()

    (features,) = from_estimator(Ridge(), scaled, ahead, market).targets
    seen = rewriting.probe(features, market, np.array([TEST, 150]), RNG, kinds=("walk",))
    assert {(f.leak, f.where) for f in seen.findings} == {
        ("L04", f"features.{c}") for c in inputs(frame_of(market)).columns
    }


def frame_of(market):
    got = []
    audit_frame = from_pipeline(type("Peek", (Standing,), {"fit": lambda _, frame: got.append(frame)}), market)
    assert audit_frame.rows == (TEST, ROWS - 2)
    return got[0]


class Centred(Ridge):
    """L06: subtracts the mean of the batch it is asked about."""

    def predict(self, x):
        said = super().predict(x)
        return said - said.mean()


class Counting(Ridge):
    """L07: every prediction moves its state."""

    def predict(self, x):
        self.seen_ = getattr(self, "seen_", 0) + len(x)
        return super().predict(x)


@pytest.mark.parametrize(("model", "leak", "note"), [
    (Centred(), "L06", "alone against in company"), (Counting(), "L07", "state mutated: seen_"),
])  # fmt: skip
def test_an_estimator_that_looks_at_its_batch_is_found_by_p4(market, model, leak, note):
    report = audit(from_estimator(model, inputs, ahead, market))
    (found,) = [f for f in report.findings if f.probe == "P4"]
    assert (found.leak, found.where, found.note) == (leak, type(model).__name__, note)


# ---- errors ----
@pytest.mark.parametrize(("call", "message"), [
    (lambda m: from_pipeline(3, m), "audit: int has no fit and predict; pass a class, a function that makes one, or an "
     "unfitted object with both"),
    (lambda m: from_pipeline(Honest, m, test=1.0), f"audit: test=1.0 leaves no test rows among {ROWS}; use a share "
     "such as 0.6"),
    (lambda m: from_pipeline(Honest, m, gets="symbol"),
     "audit: a pipeline gets 'long', 'wide' or 'panel', not 'symbol'"),
    (lambda m: from_estimator(Ridge(), inputs, ahead, m, fit_rows="some"),
     "audit: fit_rows must be 'train', 'unpurged' or 'all', got 'some'"),
    (lambda m: from_estimator(Ridge(), lambda f: f.missing, ahead, m),
     "audit: Ridge.fit raised AttributeError on the unchanged panel: 'DataFrame' object has no attribute 'missing'; "
     "make it run there first"),
])  # fmt: skip
def test_what_cannot_be_audited_is_said_in_one_line(market, call, message):
    with pytest.raises(ConfigError) as e:
        call(market)
    assert str(e.value) == message


# ---- parts ----
def test_fresh_makes_unfitted_objects():
    model = Ridge(3.0)
    made = fresh(model)()
    assert made is not model
    assert made.alpha == 3.0
    assert type(fresh(Honest)()) is Honest
    thing = Honest()
    thing.setting = [1]
    assert fresh(thing)().setting == [1]
    assert fresh(thing)().setting is not thing.setting


def test_training_on_the_test_rows_moves_only_the_rows_before_them(market):
    new = trained_on_test(market, TEST)
    for name, old in market.fields.items():
        assert np.array_equal(new.fields[name][:TEST], old[ROWS - TEST :], equal_nan=True)
        assert np.array_equal(new.fields[name][TEST:], old[TEST:], equal_nan=True)


def test_a_replayed_future_is_the_first_rows_once_more_and_keeps_the_gaps(market):
    new = replay(market, TEST)
    for name, old in market.fields.items():
        assert np.array_equal(new.fields[name][: TEST + 1], old[: TEST + 1], equal_nan=True)
        assert np.array_equal(np.isnan(new.fields[name]), np.isnan(old))
        both = np.isfinite(old[TEST + 1 :]) & np.isfinite(old[: ROWS - 1 - TEST])
        assert np.array_equal(new.fields[name][TEST + 1 :][both], old[: ROWS - 1 - TEST][both])
    assert np.isfinite(replay(market, 20).fields["factor"]).all()  # a future longer than the past goes round


def test_wide_and_panel_pipelines_are_taken(market):
    class Wide:
        def fit(self, frame):
            self.mean = frame["close"].iloc[:100].mean()

        def predict(self, frame):
            return frame["close"] / self.mean

    class Whole:
        def fit(self, panel):
            self.mean = np.nanmean(panel.fields["close"], axis=0)

        def predict(self, panel):
            return panel.fields["close"] / self.mean

    for make, gets, status in ((Wide, "wide", "ok"), (Whole, "panel", "LEAK")):
        parts = from_pipeline(make, market, gets=gets)
        assert p3.probe(parts.refit, market, np.array([TEST]), RNG).status == status


class Box:
    def __init__(self, **held):
        self.__dict__.update(held)


@pytest.mark.parametrize(("before", "after", "cause"), [
    (Box(a=1.0, b=2.0), Box(a=1.0, b=2.0), None),
    (Box(mean_=np.zeros(2), coef_=np.ones(2)), Box(mean_=np.ones(2), coef_=np.zeros(2)), ("L05", "mean_")),
    (Box(kept=["a", "b"], coef_=np.ones(2)), Box(kept=["a", "c"], coef_=np.zeros(2)), ("L18", "kept")),
    (Box(mask=np.array([True, False])), Box(mask=np.array([True, True])), ("L18", "mask")),
    (Box(means={"S1": 0.1, "S2": 0.2}), Box(means={"S1": 0.1, "S2": 0.3}), ("L17", "means")),
    (Box(means={"m5": 0.1, "m9": 0.2}), Box(means={"m5": 0.1, "m9": 0.3}), ("L05", "means.m9")),
    (Box(table=pd.Series([1.0, 2.0], ["S1", "S2"])), Box(table=pd.Series([1.0, 3.0], ["S1", "S2"])), ("L17", "table")),
    (Box(rounds=3, w=1.0), Box(rounds=4, w=2.0), ("L20", "rounds")),
    (Box(inner=Box(w=1.0, best_iteration_=7)), Box(inner=Box(w=2.0, best_iteration_=9)),
     ("L20", "inner.best_iteration_")),
    (Box(steps=[("scaler", Box(mean_=1.0)), ("model", Box(n_iter_=3))]),
     Box(steps=[("scaler", Box(mean_=2.0)), ("model", Box(n_iter_=4))]), ("L05", "steps.scaler.mean_")),
])  # fmt: skip
def test_the_learner_that_moved_first_is_named(before, after, cause):
    symbols = ("S1", "S2")
    assert fitted.cause(fitted.leaves(before, symbols), fitted.leaves(after, symbols)) == cause


def test_fitted_state_of_real_estimators_is_stable_and_complete():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    lightgbm = pytest.importorskip("lightgbm")
    for model in (
        make_pipeline(StandardScaler(), Ridge()), RandomForestRegressor(2, max_depth=3, random_state=0, n_jobs=1),
        lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1),
    ):  # fmt: skip
        one, two, three = (fitted.leaves(fresh(model)().fit(x, y * k)) for k in (1, 1, 2))
        assert fitted.moved(one, two) == []
        assert fitted.moved(one, three)


def test_a_loop_in_an_object_ends():
    box = Box(a=1.0)
    box.me = box
    assert list(fitted.leaves(box)) == ["a"]


def test_an_estimator_is_no_pipeline_and_the_message_says_what_to_call(market):
    with pytest.raises(ConfigError) as e:
        from_pipeline(Ridge(), market)
    assert str(e.value) == (
        "audit: Ridge.fit takes X and y, not a frame of prices; use check_causal_estimator(estimator), or "
        "audit(from_estimator(estimator, features, label, panel))"
    )
