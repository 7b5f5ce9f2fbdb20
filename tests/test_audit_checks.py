"""assert_causal and check_causal_estimator: what they raise, word for word, and what they let pass; the adapter for
Qlib handlers and the pytest fixture."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge, SGDRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hitherto.audit import audit, made_up_panel
from hitherto.audit.checks import assert_causal, check_causal_estimator
from hitherto.audit.qlib_handler import from_handler
from hitherto.errors import ConfigError


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=120, listings=20, seed=5)


# ---- assert_causal ----
def honest(frame):
    return frame.close.rolling(5).mean()


def peek(frame):
    return frame.close.shift(-1)


def test_an_honest_function_returns_its_report(market):
    report = assert_causal(honest, market)
    assert report.exit_code == 0
    assert report.canary_caught is True


def test_a_leak_raises_with_its_line(market):
    with pytest.raises(AssertionError) as e:
        assert_causal(peek, market)
    (line,) = audit(peek, market).findings
    assert str(e.value) == line.line()
    here = f"(test_audit_checks.py:{peek.__code__.co_firstlineno + 1})"
    assert str(e.value).startswith(f"LEAK L01 at peek {here} reach=+1 bar cuts=")


def test_a_blind_audit_is_no_pass(market):
    with pytest.raises(AssertionError, match=r"^The audit cannot tell: P2 silent: it gives no number before the last"):
        assert_causal(FunctionOfNothing(), market)


class FunctionOfNothing:
    __name__ = "silent"

    def __call__(self, frame):
        return frame.close * np.nan


def test_a_pipeline_is_taken_with_its_options(market):
    class Mean:
        share = 0.5

        def fit(self, frame):
            dates = frame.index.get_level_values(0)
            self.mean = frame.close[dates < dates.unique()[int(120 * self.share)]].mean()

        def predict(self, frame):
            return frame.close / self.mean

    class WholeMean(Mean):
        share = 0.99

    assert assert_causal(Mean, market, test=0.5, seed=1).exit_code == 0
    with pytest.raises(AssertionError, match=r"^LEAK L05 at refit of WholeMean.prediction reach="):
        assert_causal(WholeMean, market, test=0.5)


def test_options_reach_the_audit(market):
    assert assert_causal(lambda f: f["close"].rank(axis=1), market, gets="wide").exit_code == 0
    with pytest.raises(ConfigError, match="gets must be one of"):
        assert_causal(honest, market, gets="nothing")


def test_the_fixture_works_in_a_test_run_of_its_own(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "def signal(frame):\n    return frame.close.diff()\n\n"
        "def test_fine(assert_causal):\n    assert assert_causal(signal).exit_code == 0\n\n"
        "def test_bad(assert_causal):\n    assert_causal(lambda f: f.close.diff(-1))\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hitherto", "-p",
               "hitherto.audit.pytest_plugin", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "LEAK L01 at <lambda> (test_mine.py:8) reach=+1 bar" in done.stdout


def test_the_plugin_imports_nothing_heavy():
    code = (
        "import sys, hitherto.audit.pytest_plugin as p; "
        "print([m for m in ('torch', 'pandas', 'sklearn', 'scipy', 'numba', 'polars', 'lightgbm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


# ---- check_causal_estimator: honest ----
def _lightgbm():
    return pytest.importorskip("lightgbm").LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1)


HONEST = [
    Ridge(), make_pipeline(StandardScaler(), PCA(3, random_state=0), Ridge()), LogisticRegression(),
    RandomForestRegressor(5, random_state=0), RandomForestClassifier(5, random_state=0, n_jobs=2),
    MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, random_state=0), HistGradientBoostingRegressor(max_iter=5),
    SGDRegressor(random_state=0), _lightgbm,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", HONEST, ids=lambda m: m.__name__ if callable(m) else str(m).split("(")[0])
def test_real_estimators_pass(model):
    report = check_causal_estimator(model() if callable(model) else model)
    assert report.exit_code == 0
    assert [(r.probe, r.status) for r in report.results] == [(p, "ok") for p in ("P0", "P2", "P3", "P4")]
    assert report.evaluations > 100  # one by one


class Plain:
    """Least squares without any base class."""

    def fit(self, X, y):
        self.w = np.linalg.lstsq(X, y, rcond=None)[0]
        return self

    def predict(self, X):
        return X @ self.w


class WalksForward(Plain):
    """Is given all rows; learns from the first 60 % of them."""

    share = 0.6

    def fit(self, X, y):
        cut = int(len(X) * self.share)
        return super().fit(X[:cut], y[:cut])


def test_an_object_without_a_base_class_passes():
    assert check_causal_estimator(Plain()).exit_code == 0
    assert check_causal_estimator(Plain).exit_code == 0
    assert check_causal_estimator(WalksForward(), own_split=0.6).exit_code == 0


# ---- planted ----
class Unseeded(Plain):
    """L32."""

    def fit(self, X, y):
        super().fit(X, y)
        self.w = self.w + np.random.default_rng().normal(size=self.w.shape)
        return self


class BatchCentred(Plain):
    """L06 and L04: subtracts the batch's mean."""

    def predict(self, X):
        return (X - X.mean(axis=0)) @ self.w


class Ordered(Plain):
    """L06: adds what was predicted for the row before in the same call."""

    def predict(self, X):
        said = super().predict(X)
        return said + np.r_[0.0, said[:-1]]


class Counts(Plain):
    """L07: predicting moves its state."""

    def predict(self, X):
        self.seen = getattr(self, "seen", 0) + len(X)
        return super().predict(X)


class Drops(Plain):
    """L07: dropout left on."""

    def predict(self, X):
        return super().predict(X) * (np.random.default_rng().random(len(X)) > 0.5)


class Remembers(Plain):
    """L05: a second fit goes on from the first."""

    def fit(self, X, y):
        old = getattr(self, "w", None)
        super().fit(X, y)
        if old is not None:
            self.w = 0.5 * (self.w + old)
        return self


class ScaledOnAll(WalksForward):
    """L05: splits by itself, but scales by all rows."""

    def fit(self, X, y):
        self.size = X.std(axis=0)
        return super().fit(X / self.size, y)

    def predict(self, X):
        return super().predict(X / self.size) + self.size.sum()


class ReadsTestLabels(WalksForward):
    """L05 (early stopping, selection): a threshold is chosen by the labels of the test rows."""

    def fit(self, X, y):
        super().fit(X, y)
        cut = int(len(X) * self.share)
        self.shift = float(np.mean(y[cut:] - X[cut:] @ self.w))
        return self

    def predict(self, X):
        return super().predict(X) + self.shift


class WarmForest(RandomForestRegressor):
    """L05 in scikit-learn's own clothes: warm_start keeps the trees of the first fit."""

    def __init__(self, n_estimators=4, warm_start=True, random_state=0):
        super().__init__(n_estimators, warm_start=warm_start, random_state=random_state)


PLANTED = [
    (Unseeded(), None, ["LEAK L32 at Unseeded samples=400/400 evidence A -> B fix: seed every draw; use no row count, "
                        "clock or cache (two equal fits differ; seed it)"]),
    (Counts(), None, ["LEAK L07 at Counts leaves=1/2 fix: switch dropout and running statistics off at prediction "
                      "(state mutated: seen)"]),
    (Ordered(), None, ["LEAK L06 at Ordered samples=100/100 evidence A -> B fix: no batch statistics at prediction; "
                       "use eval mode or LayerNorm (one by one against at once)"]),
    (Remembers(), None, ["LEAK L05 at Remembers samples=20/20 evidence A -> B fix: fit scalers and models on the "
                         "fold's train rows (remembers an earlier fit on later rows)"]),
    (ScaledOnAll(), 0.6, ["LEAK L05 at ScaledOnAll samples=20/20 evidence A -> B fix: fit scalers and models on the "
                          "fold's train rows (its fit reads inputs or labels past the decision)"]),
    (ReadsTestLabels(), 0.6, ["LEAK L05 at ReadsTestLabels samples=20/20 evidence A -> B fix: fit scalers and models "
                              "on the fold's train rows (its fit reads inputs or labels past the decision)"]),
    (BatchCentred(), None, [
        "LEAK L04 at BatchCentred samples=260/260 evidence A -> B fix: use a rolling or expanding statistic (moves "
        "with later inputs of the same call)",
        "LEAK L06 at BatchCentred samples=100/100 evidence A -> B fix: no batch statistics at prediction; use eval "
        "mode or LayerNorm (one by one against at once)",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("model", "own", "lines"), PLANTED, ids=[type(p[0]).__name__ for p in PLANTED])
def test_planted_estimators_are_caught_word_for_word(model, own, lines):
    with pytest.raises(AssertionError) as e:
        check_causal_estimator(model, own_split=own)
    said = re.sub(r"evidence \S+ -> \S+", "evidence A -> B", str(e.value)).splitlines()
    assert said == lines


def test_dropout_left_on_is_random_at_prediction_and_between_fits():
    with pytest.raises(AssertionError) as e:
        check_causal_estimator(Drops())
    # 400 coin flips twice over: the chance that both runs agree is 2 ** -400.
    found = [line.split(" at ")[0] for line in str(e.value).splitlines()]
    assert set(found) >= {"LEAK L32", "LEAK L07"}


@pytest.mark.filterwarnings("ignore:Warm-start")
def test_warm_start_is_a_memory_of_later_rows():
    with pytest.raises(AssertionError, match=r"LEAK L05 at WarmForest .*remembers an earlier fit on later rows"):
        check_causal_estimator(WarmForest())


def test_own_data_and_times_are_taken():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 2))
    y = x @ [1.0, -1.0]
    times = np.repeat(np.arange("2020-01-01", "2020-01-31", dtype="datetime64[D]"), 3)
    report = check_causal_estimator(Plain(), X=x, y=y, sample_times=times)
    assert report.scope == "Plain on 90 samples of 30 dates"
    twice = check_causal_estimator(Plain(), X=x, y=y, sample_times=times)
    assert [r.findings for r in report.results] == [r.findings for r in twice.results]


class ByName(Plain):
    """Asks for its columns by name."""

    def fit(self, X, y):
        return super().fit(X[["a", "b"]].to_numpy(), y)

    def predict(self, X):
        return super().predict(X[["a", "b"]].to_numpy())


def test_a_frame_keeps_its_columns():
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 2)), columns=["a", "b"])
    assert check_causal_estimator(ByName(), X=x, y=x.a - x.b).exit_code == 0


def test_a_search_tree_that_counts_its_calls_is_no_state():
    from sklearn.neighbors import KNeighborsRegressor

    assert check_causal_estimator(KNeighborsRegressor(algorithm="kd_tree")).exit_code == 0


@pytest.mark.parametrize(("options", "message"), [
    ({"X": np.full((20, 2), "a"), "y": np.zeros(20)}, "check: X holds <U1; encode words and dates as numbers first"),
    ({"X": np.zeros((20, 2)), "y": np.zeros(19)}, "check: X (20, 2) and y (19,) must be (S, F) and (S,) with S >= 10"),
    ({"sample_times": np.arange(400)[::-1]}, "check: sample_times (400,) must be 400 sorted dates, one per row of X"),
    ({"own_split": 1.5}, "check: a share of 1.5 of 20 dates leaves none to test; use 0.6 and 5 dates"),
])  # fmt: skip
def test_wrong_data_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigError) as e:
        check_causal_estimator(Plain(), **options)
    assert str(e.value) == message


def test_an_estimator_that_fails_alone_is_no_pass():
    class NeedsTwo(Plain):
        def predict(self, X):
            if len(X) < 2:
                raise ValueError("one row is too few")
            return super().predict(X)

    with pytest.raises(AssertionError) as e:
        check_causal_estimator(NeedsTwo())
    said = "The audit cannot tell: P4 NeedsTwo: NeedsTwo raised ValueError: one row is too few."
    assert str(e.value) == said
    with pytest.raises(ConfigError, match="check: Ridge raised ValueError on the data as they are: Input"):
        check_causal_estimator(Ridge(), X=np.full((20, 2), np.nan), y=np.zeros(20),
                               sample_times=np.arange(20))  # fmt: skip


# ---- Qlib handlers, duck-typed ----
class Handler:
    """As Qlib's: fetch(col_set) gives two-level columns, labels among them unless features are asked for."""

    def __init__(self, prices, window=5, shift=0):
        close = prices.close.unstack()
        made = {("feature", "MA"): close.rolling(window).mean().shift(-shift).stack(),
                ("label", "L0"): (close.shift(-2) / close.shift(-1) - 1).stack()}  # fmt: skip
        self.data = pd.DataFrame(made).reindex(prices.index)

    def fetch(self, col_set="__all"):
        return self.data if col_set == "__all" else self.data.loc[:, [c for c in self.data if c[0] == col_set]]


class Simple(Handler):
    def fetch(self):
        return self.data


@pytest.mark.parametrize("kind", [Handler, Simple])
def test_a_handler_is_a_target_and_its_labels_are_left_out(market, kind):
    target = from_handler(kind)
    assert list(target.run(market)) == ["feature.MA"]
    assert audit(target, market).exit_code == 0


def test_a_handler_that_looks_ahead_is_caught(market):
    report = audit(from_handler(lambda prices: Handler(prices, shift=1), "mine"), market)
    assert [(f.leak, f.where, f.reach) for f in report.findings] == [("L01", "mine.feature.MA", 1)]


def test_a_finished_handler_and_a_wrong_answer_are_refused(market):
    made = []
    from_handler(lambda prices: made.append(Handler(prices)) or made[0]).run(market)
    with pytest.raises(ConfigError) as e:
        from_handler(made[0])
    assert str(e.value) == (
        "audit: Handler has already read its data, so that its future cannot be rewritten; pass a function that makes "
        "a handler from a frame of prices"
    )

    class Odd:
        def __init__(self, prices):
            pass

        def fetch(self):
            return np.zeros(3)

    with pytest.raises(ConfigError, match=r"^audit: Odd.fetch gave ndarray; it must be a frame indexed by"):
        from_handler(Odd).run(market)


# ---- the page that shows all this ----
def test_every_block_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = Path(__file__).resolve().parents[1] / "docs" / "audit_your_code.md"
    text = page.read_text(encoding="utf-8")
    assert "It is not a sandbox." in text
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, page.name, "exec"), space)
    space["test_my_signal"](assert_causal)
    out = capsys.readouterr().out
    assert out.count("verdict: No leak was found") == 5
    assert "\nok []\n" in out
    assert 'P9 LEAK ["LEAK L21 at fills reach=+1 bar orders=1/2' in out
