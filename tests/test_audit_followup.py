"""What P3 found, told apart: held-out rows, copies, choices, survivors; each class by an experiment, not a guess."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_audit_pipelines import ROWS, TEST, Base, inputs, refitted, wide

from hitherto.audit import fitcalls, made_up_panel


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=ROWS, listings=8, seed=3)


# ---- what the follow-up tells apart ----
class Rows(Base):
    """A Ridge fitted on the rows that ``kept`` gives."""

    def fit(self, frame):
        x, y, train = self.split(frame)
        x, y = self.kept(x, y, train)
        self.model = Ridge(100.0).fit(x, y)


class HeldOut(Rows):
    """L13: a random fifth of all rows is held out."""

    def kept(self, x, y, train):
        chosen = np.random.default_rng(0).random(len(x)) < 0.8
        return x[chosen], y[chosen]


class Copied(Rows):
    """L16: rows are drawn with replacement before the first part is kept."""

    def kept(self, x, y, train):
        drawn = np.random.default_rng(0).integers(0, len(x), len(x))[: train.sum()]
        return x.iloc[drawn], y.iloc[drawn]


class Mixed(Rows):
    """L16: each row is mixed with a random one of the whole sample."""

    def kept(self, x, y, train):
        other = np.random.default_rng(0).permutation(len(x))
        x = 0.7 * x + 0.3 * x.to_numpy()[other]
        return x[train], (0.7 * y + 0.3 * y.to_numpy()[other])[train]


class CopiedOnTrain(Rows):
    """Honest: a bootstrap of the train rows."""

    def kept(self, x, y, train):
        drawn = np.random.default_rng(0).integers(0, train.sum(), train.sum())
        return x[train].iloc[drawn], y[train].iloc[drawn]


class Everything(Rows):
    """L05: trained on every row, the tested ones too."""

    def kept(self, x, y, train):
        return x, y


class Signs(Everything):
    """L05: the same on ranks in the date and the sign of the label, which feel no tiny change."""

    def kept(self, x, y, train):
        return x, np.sign(y)

    def inputs(self, frame):
        return inputs(frame).groupby(level=0).rank(pct=True)


class LabelScaled(Rows):
    """L05: labels are divided by their deviation over all rows; each keeps its place among the others."""

    def kept(self, x, y, train):
        return x[train], (y / y.std())[train]


class BestOf(Base):
    """L19: of several fits the one with the smallest error on the test rows (of the train rows) is kept."""

    on_test = True

    def fit(self, frame):
        x, y, train = self.split(frame)
        watch = ~train if self.on_test else train
        tried = [self.trial(k, x[train], y[train]) for k in range(6)]
        self.keep(tried[int(np.argmin([self.error(m, x[watch], y[watch]) for m in tried]))])

    def error(self, model, x, y):
        return float(np.square(model.predict(x) - y).mean())

    def trial(self, k, x, y):
        return Ridge(10.0 ** (k - 3)).fit(x, y)

    def keep(self, model):
        self.model = model


class BestColumnsSeed(BestOf):
    """L19: the weights of random inputs, drawn by the seed that did best, hide which seed it was."""

    def trial(self, k, x, y):
        hidden = np.random.default_rng(k).standard_normal((x.shape[1], 6))
        return hidden, Ridge(1.0).fit(np.tanh(x / x.std() @ hidden), y)

    def error(self, model, x, y):
        return -float(np.corrcoef(model[1].predict(np.tanh(x / x.std() @ model[0])), y)[0, 1])

    def keep(self, model):
        self.hidden, self.model = model

    def predict(self, frame):
        x = self.inputs(frame)
        return pd.Series(self.model.predict(np.tanh(x @ self.hidden)), x.index)


class BestOfOnTrain(BestOf):
    on_test = False


class Lived(Base):
    """L24: only names whose price did not fall by the end of the file are trained on."""

    until = -1

    def fit(self, frame):
        close = wide(frame, "close")
        self.alive = list(close.columns[close.iloc[self.until] > close.iloc[0]])
        x, y, train = self.split(frame)
        mine = train & x.index.get_level_values(1).isin(self.alive)
        self.model = Ridge(100.0).fit(x[mine], y[mine])


class LivedUnsaid(Lived):
    """L24: the same, and the object does not tell whom it took."""

    def fit(self, frame):
        super().fit(frame)
        del self.alive


class Traded(Lived):
    """L24: only names that still trade on each of the last dates are trained on."""

    def fit(self, frame):
        close = frame["close"].unstack()
        self.alive = [str(name) for name in close.columns if close[name].iloc[-20:].notna().any()]
        x, y, train = self.split(frame)
        mine = train & x.index.get_level_values(1).isin(self.alive)
        self.model = Ridge(100.0).fit(x[mine], y[mine])


class LivedSoFar(Lived):
    until = TEST - 1


class FilledByMedian(Base):
    """L05: a table by listing, but of volumes: no encoding of a target."""

    def fit(self, frame):
        self.usual = frame["volume"].groupby(level=1).median()
        x, y, train = self.split(frame)
        self.model = Ridge(1e-6).fit(x[train], y[train])

    def inputs(self, frame):
        x = inputs(frame)
        size = np.log(frame["volume"].reindex(x.index) / x.index.droplevel(0).map(self.usual).to_numpy())
        return x.assign(size=size).dropna()


TOLD = [
    (HeldOut, "L13", r"Ridge was fitted on \d+ rows of test dates, [12]\d% held out between them"),
    (Copied, "L16", r"Ridge was fitted on \d+ rows, \d+ of them copies, \d+ of test dates"),
    (Mixed, "L16", r"\d+ of \d+ early labels hold later ones, their order changes"),
    (Everything, "L05", r"first moved: model\.coef_"),
    (Signs, "L05", r"first moved: model\.coef_"),
    (LabelScaled, "L05", r"first moved: model\.coef_"),
    (BestOf, "L19", r"the future enters as a choice only; first moved: model\.alpha"),
    (BestColumnsSeed, "L19", r"one of 6 fits on equal rows is kept; first moved: hidden"),
    (Lived, "L24", r"listings are picked by later prices; first moved: alive"),
    (LivedUnsaid, "L24", r"rows are trained on by what becomes of them later"),
    (Traded, "L24", r"who trades"),
    (FilledByMedian, "L05", r"first moved: usual"),
]


@pytest.mark.parametrize(("make", "leak", "seen"), TOLD, ids=[t[0].__name__ for t in TOLD])
def test_classes_are_told_apart_by_experiment(market, make, leak, seen):
    (found,) = refitted(make, market).findings
    assert found.leak == leak, found.note
    assert re.search(seen, found.note), found.note


@pytest.mark.parametrize("make", [CopiedOnTrain, BestOfOnTrain, LivedSoFar], ids=lambda m: m.__name__)
def test_what_copies_and_chooses_among_train_rows_is_not_flagged(market, make):
    seen = refitted(make, market)
    assert (seen.status, seen.findings, seen.detail) == ("ok", (), "")


def test_a_choice_says_no_reach_but_to_the_last_bar(market):
    """How far a choice looks cannot be bisected: it need not turn over each time."""
    for make in (BestOf, BestColumnsSeed, Lived):
        (found,) = refitted(make, market).findings
        assert found.reach in (None, ROWS - 1 - TEST)


class Searched(Base):
    """A search that is given all rows; whatever it picks, the model that is kept is fitted on the train rows."""

    def fit(self, frame):
        from sklearn.model_selection import GridSearchCV

        x, y, train = self.split(frame)
        GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2).fit(x, y)
        self.model = Ridge(1.0).fit(x[train], y[train])


def test_a_learner_that_was_given_later_labels_is_told_even_when_nothing_moved(market):
    seen = refitted(Searched, market)
    assert (seen.status, seen.findings) == ("ok", ())
    assert seen.detail == "GridSearchCV was given labels of rows past the cut, no prediction moved"


def test_fits_are_watched_once_each_and_in_order():
    index = pd.MultiIndex.from_product([pd.date_range("2020-01-01", periods=30), ["A", "B"]])
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), index)
    y = pd.Series(np.arange(60.0), index)
    with fitcalls.watched() as calls:
        make_pipeline(StandardScaler(), Ridge()).fit(x, y)
        Ridge().fit(x.to_numpy(), y.to_numpy())  # no dates: left out
        RandomForestRegressor(2, random_state=0, n_jobs=1).fit(x.iloc[[0, 0, 1]], y.iloc[[0, 0, 1]])
    assert [(c.learner, len(c.y)) for c in calls] == [("Pipeline", 60), ("RandomForestRegressor", 3)]
    assert (fitcalls.copies(calls[0]), fitcalls.copies(calls[1])) == (0, 1)
    assert calls[0].names[:2].tolist() == ["A", "B"]
    assert calls[0].dates[2] == np.datetime64("2020-01-02")
    assert sys.getprofile() is None


def test_watching_leaves_another_profiler_alone():
    def mine(*_):
        return None

    sys.setprofile(mine)
    try:
        with fitcalls.watched() as calls:
            Ridge().fit(np.eye(2), [0.0, 1.0])
            assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)
    assert calls == []
