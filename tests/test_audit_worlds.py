"""P8, null worlds: skill that the future gave is left there; honest numbers and honest fits have none.

Seeds are fixed. An honest column raises a false alarm when one of 3 lags is beyond 4 standard errors (6e-5 each, both
sides): below 0.02 % for each honest test here, below 0.5 % for all of them. An honest score raises one at the same
level, 3e-5, on one side only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hitherto.audit import from_function, made_up_panel
from hitherto.audit.pipelines import from_pipeline
from hitherto.audit.probes import worlds
from hitherto.errors import ConfigError, DataError
from hitherto.seeds import Stream

RNG = Stream(5, "worlds")
PANEL = made_up_panel(240, 16, seed=1)


def look(f, panel=PANEL, **options):
    return worlds.probe(from_function(f), panel, RNG, **options)


def next_return(frame):
    return frame.close.shift(-1) / frame.close - 1


def centred(frame):
    return frame.close / frame.close.rolling(11, center=True).mean()


def whole_sample(frame):
    return (frame.close - frame.close.mean()) / frame.close.std()


def day_after_next(frame):
    return frame.close.shift(-2) / frame.close.shift(-1)


@pytest.mark.parametrize(
    ("f", "leak", "sign"),
    [(next_return, "L01", 1), (centred, "L02", -1), (whole_sample, "L02", -1), (day_after_next, "L02", 1)],
)
def test_the_future_leaves_skill_where_there_is_none(f, leak, sign):
    result = look(f, worlds=4)
    (found,) = result.findings
    assert (result.probe, result.status, found.leak, found.where) == ("P8", "LEAK", leak, f.__name__)
    assert sign * found.new > 0.05
    assert found.of == "lags"
    assert result.hits == {f.__name__: (found.hits, 3)}


def test_a_shift_has_a_skill_of_one():
    (found,) = look(next_return, worlds=2).findings
    # Ranks are taken among all known numbers; a date on which one name lacks a number is a little below 1.
    assert found.new > 0.98
    assert found.note.startswith("skill on the panel -> in worlds without any, ")
    assert "standard errors from 0, bars ahead: 1; p of the panel's skill" in found.note


def momentum(frame):
    return frame.close.pct_change(10)


def level(frame):
    return frame.close


def expanding(frame):
    return (frame.close - frame.close.expanding(5).mean()) / frame.close.expanding(5).std()


def many(frame):
    r = frame.close.pct_change()
    return pd.DataFrame(
        {
            "vol": r.rolling(20).std(), "skew": r.rolling(20).skew(), "low": frame.low / frame.close,
            "gap": frame.open / frame.close.shift(1), "volume": frame.volume, "sign": np.sign(r),
            "factor": frame.factor, "seen": frame.close.notna().cumsum(), "max": r.rolling(20).max(),
            "far": r.rolling(60).sum(),
        }
    )  # fmt: skip


@pytest.mark.parametrize("f", [momentum, level, expanding, many])
def test_honest_numbers_have_no_skill(f):
    result = look(f)
    assert (result.status, result.findings) == ("ok", ())
    assert "would have been seen" in result.detail
    assert result.tried == "skill in 6 null worlds (resampled, walk), 7 evaluations"


def reversal_panel():
    """A market where the last return predicts the next one: real skill, honestly earned."""
    g = np.random.default_rng(3)
    T, N = PANEL.shape
    r = 0.02 * g.standard_normal((T, N))
    for t in range(1, T):
        r[t] += 0.5 * r[t - 1]
    close = 20 * np.exp(np.cumsum(r, axis=0))
    fields = {k: close.copy() for k in ("open", "high", "low", "close")}
    on = np.ones((T, N), bool)
    return PANEL.replace(
        fields={**fields, "volume": np.full((T, N), 1e6)}, listed=on, suspended=~on, missing=~on, universe=on.copy()
    )


def last_return(frame):
    return frame.close.pct_change()


def test_real_skill_vanishes_in_null_worlds_and_its_p_value_is_small():
    panel = reversal_panel()
    result = look(last_return, panel, worlds=9)
    assert result.status == "ok"
    target = from_function(last_return)
    real = worlds.daily(target.run(panel)["last_return"], panel)
    null = [worlds.null_world(panel, kind, RNG.child(i)) for i, kind in enumerate(worlds.WORLDS)]
    skill = worlds.judge(real, [worlds.daily(target.run(w)["last_return"], w) for w in null])[0]
    assert skill.real > 0.3  # corr(r, r') = 0.5 is a rank correlation of about 0.48
    assert abs(skill.null) < 0.05
    assert skill.p == pytest.approx(1 / 3)  # (0 worlds as good + 1) / (2 + 1)


def long_momentum(frame):
    return frame.close.pct_change(60)


def test_a_market_whose_names_drift_apart_gives_no_skill_in_its_worlds():
    # Each name has its own mean return, up to half its daily volatility: momentum is real here, in no null world.
    drift = np.exp(np.arange(PANEL.shape[0])[:, None] * np.linspace(-0.01, 0.01, PANEL.shape[1]))
    fields = {k: v * drift if k in ("open", "high", "low", "close") else v for k, v in PANEL.fields.items()}
    panel = PANEL.replace(fields=fields)
    target = from_function(long_momentum)
    assert np.nanmean(worlds.daily(target.run(panel)["long_momentum"], panel)[0]) > 0.1
    assert look(long_momentum, panel).status == "ok"


# Pipelines: 60 candidate columns of pure noise made from the panel's own past.


class Chosen:
    """Picks the 5 columns that go best with the next return, and votes with their signs."""

    honest = False

    def columns(self, frame):
        close = frame["close"].unstack().ffill()
        r = close.pct_change()
        return pd.DataFrame({k: r.shift(k).stack() for k in range(1, 61)}).reindex(frame.index)

    def fit(self, frame):
        close = frame["close"].unstack().ffill()
        y = (close.shift(-1) / close - 1).stack().reindex(frame.index)
        x = self.columns(frame)
        dates = frame.index.get_level_values(0)
        if self.honest:
            keep = dates < dates.unique()[int(dates.nunique() * 0.6) - 1]
            x, y = x[keep], y[keep]
        score = x.corrwith(y)
        self.chosen = score.abs().nlargest(8).index
        self.sign = np.sign(score[self.chosen])

    def predict(self, frame):
        return (self.columns(frame)[self.chosen] * self.sign).sum(axis=1, min_count=8)


class ChosenInTrain(Chosen):
    honest = True


class Encoded:
    """Each name's mean next return, over all rows, as its score (a target encoding)."""

    honest = False

    def fit(self, frame):
        close = frame["close"].unstack().ffill()
        y = close.shift(-1) / close - 1
        self.means = (y.iloc[: int(len(y) * 0.6) - 1] if self.honest else y).mean()

    def predict(self, frame):
        return pd.Series(self.means.reindex(frame.index.get_level_values(1)).to_numpy(), frame.index)


class EncodedInTrain(Encoded):
    honest = True


@pytest.mark.parametrize("pipeline", [Chosen, Encoded])
def test_choosing_and_encoding_on_all_rows_leaves_skill_out_of_sample(pipeline):
    parts = from_pipeline(pipeline, PANEL)
    result = worlds.probe(parts.refit, PANEL, RNG, refit=True)
    (found,) = result.findings
    assert (result.status, found.leak) == ("LEAK", "L05")
    assert 0.02 < found.new < 0.5


@pytest.mark.parametrize("pipeline", [ChosenInTrain, EncodedInTrain])
def test_the_same_on_train_rows_leaves_none(pipeline):
    parts = from_pipeline(pipeline, PANEL)
    result = worlds.probe(parts.refit, PANEL, RNG, refit=True)
    assert (result.status, result.findings) == ("ok", ())


def test_another_probes_class_is_taken():
    (found,) = look(next_return, worlds=2, leak="L14").findings
    assert found.leak == "L14"


# Evaluations: a panel in, the skill that they report out.


def forward(panel):
    """Comparable closes of a panel, and the simple returns of the next bar, NaN in the last row."""
    close = panel.view("close")
    ahead = np.full(close.shape, np.nan)
    ahead[:-1] = close[1:] / close[:-1] - 1
    return close, ahead


def momentum_ic(panel, lag=0):
    """IC by date of a 5-bar momentum with the next return; lag 1: with the return that it already contains."""
    close, ahead = forward(panel)
    x = np.full(close.shape, np.nan)
    x[5:] = close[5:] / close[:-5]
    y = np.vstack([np.full((lag, close.shape[1]), np.nan), ahead[: len(ahead) - lag]])
    return pd.DataFrame(x).rank(axis=1).corrwith(pd.DataFrame(y).rank(axis=1), axis=1).to_numpy()


def its_own_bar(panel):
    return momentum_ic(panel, 1)


def many_books(panel):
    """(T, 40) daily means of books that draw their sides beforehand."""
    _, ahead = forward(panel)
    sides = np.random.default_rng(0).choice([-1.0, 1.0], (40, *ahead.shape))
    return np.nanmean(sides[:, :-1] * ahead[:-1], axis=2).T


def best_book(panel):
    books = many_books(panel)
    return (books.mean(axis=0) / books.std(axis=0)).max()


def best_book_later(panel):
    books = many_books(panel)
    half = len(books) // 2
    best = (books[:half].mean(axis=0) / books[:half].std(axis=0)).argmax()
    return books[half:, best].mean() / books[half:, best].std()


@pytest.mark.parametrize("f", [its_own_bar, best_book])
def test_an_evaluation_that_looks_ahead_reports_skill_where_there_is_none(f):
    result = worlds.score_probe(f, PANEL, RNG)
    (found,) = result.findings
    assert (result.status, found.leak, found.where, found.reach, found.of) == (
        "LEAK",
        "L19",
        f.__name__,
        None,
        "worlds",
    )
    assert found.hits == found.tried == 20
    assert found.new > 0.05
    assert found.old == pytest.approx(float(np.nanmean(f(PANEL))))
    assert found.line().startswith(f"LEAK L19 at {f.__name__} worlds=20/20 evidence ")
    assert (
        worlds.score_probe(f, PANEL, RNG, leak="L11", name="test IC")
        .findings[0]
        .line()
        .startswith("LEAK L11 at test IC")
    )


@pytest.mark.parametrize("f", [momentum_ic, best_book_later])
def test_an_honest_evaluation_reports_none(f):
    result = worlds.score_probe(f, PANEL, RNG)
    assert (result.status, result.findings, result.probe) == ("ok", (), "P8")
    assert result.tried == "the score in 20 null worlds (resampled, walk), 21 evaluations"
    assert "would have been seen" in result.detail
    assert (result.detail, result.cuts) == ((again := worlds.score_probe(f, PANEL, RNG)).detail, again.cuts)


def test_real_skill_is_no_leak_and_its_p_value_is_small():
    def reversal_sharpe(panel):
        close, ahead = forward(panel)
        last = np.vstack([np.zeros((1, close.shape[1])), ahead[:-1]])
        book = np.nanmean(np.sign(last[:-1]) * ahead[:-1], axis=1)
        return book.mean() / book.std()

    result = worlds.score_probe(reversal_sharpe, reversal_panel(), RNG)
    assert result.status == "ok"
    assert "(p = 0.048)" in result.detail  # (0 worlds as good + 1) / (20 + 1)


def test_costs_only_lower_a_score():
    assert worlds.score_probe(lambda panel: best_book_later(panel) - 1.0, PANEL, RNG).status == "ok"


def uneven_panel():
    """Half of the names move 6 % a day, the others 1 %: what is symmetric in logs would favour the wild ones."""
    sizes = np.where(np.arange(PANEL.shape[1]) % 2, 0.06, 0.01)
    close = 20 * np.exp(np.cumsum(sizes * np.random.default_rng(4).standard_normal(PANEL.shape), axis=0))
    fields = {k: close.copy() for k in ("open", "high", "low", "close")}
    on = np.ones(PANEL.shape, bool)
    return PANEL.replace(
        fields={**fields, "volume": np.full(PANEL.shape, 1e6), "factor": np.ones(PANEL.shape)},
        listed=on, suspended=~on, missing=~on, universe=on.copy(),
    )  # fmt: skip


def test_a_book_that_is_long_the_wild_names_earns_nothing_in_the_worlds():
    def wild_over_calm(panel):
        book = forward(panel)[1][:-1]
        return (book[:, 1::2].mean(axis=1) - book[:, ::2].mean(axis=1)).mean()

    # Symmetric logs would give (0.06^2 - 0.01^2) / 2 = 0.0018 a day; the error of 100 worlds x 239 days of 8 names is
    # 0.06 / sqrt(8 x 23900) = 0.00014 and 5 of these are 0.0007.
    scores = [wild_over_calm(worlds.null_world(uneven_panel(), k, RNG.child(k, i))) for i in range(50)
              for k in worlds.WORLDS]  # fmt: skip
    assert abs(np.mean(scores)) < 0.0007


def test_false_alarms_of_honest_scores_stay_rare():
    # Scores of 20 worlds each, 3,000 times, drawn as normal: the level is 3.2e-5, so one alarm has a chance of 9 %, and
    # 3 or more of 0.02 %.
    g = np.random.default_rng(0)
    x = g.standard_normal((3000, 20))
    t = x.mean(axis=1) / x.std(axis=1, ddof=1) * np.sqrt(20)
    assert (t > worlds._limit(19)).sum() < 3
    # A score with a tail to the right (the best of something, an exponential) is safer still.
    x = g.standard_exponential((3000, 20)) - 1
    t = x.mean(axis=1) / x.std(axis=1, ddof=1) * np.sqrt(20)
    assert (t > worlds._limit(19)).sum() == 0


def test_a_constant_claim_is_a_leak_and_nothing_is_nothing():
    assert worlds.score_probe(lambda panel: 0.3, PANEL, RNG).status == "LEAK"
    assert worlds.score_probe(lambda panel: 0.0, PANEL, RNG).status == "ok"


def test_evaluations_that_cannot_be_asked():
    with pytest.raises(ConfigError, match=r"^audit: 4 null worlds are too few to judge a score by; take 5 or more$"):
        worlds.score_probe(momentum_ic, PANEL, RNG, worlds=4)
    with pytest.raises(ConfigError, match=r"^audit: no class of leaks 'L99'; it is one of L01 to L32$"):
        worlds.score_probe(momentum_ic, PANEL, RNG, leak="L99")
    volumes = PANEL.replace(fields={"volume": PANEL.fields["volume"]})
    assert worlds.score_probe(momentum_ic, volumes, RNG).status == "not assessed"

    def empty(panel):
        return np.full(3, np.nan)

    said = worlds.score_probe(empty, PANEL, RNG)
    assert (said.status, said.detail) == ("cannot tell", "empty gave no finite score on the unchanged panel")

    def brittle(panel):
        if panel is not PANEL:
            raise ValueError("unknown prices")
        return 1.0

    said = worlds.score_probe(brittle, PANEL, RNG)
    assert (said.status, said.detail) == ("cannot tell", "brittle raised ValueError: unknown prices in a null world")


# The worlds themselves


@pytest.mark.parametrize("kind", worlds.WORLDS)
def test_a_world_keeps_masks_volatility_and_bars(kind):
    world = worlds.null_world(PANEL, kind, RNG)
    for name, old in PANEL.fields.items():
        assert np.array_equal(np.isnan(old), np.isnan(world.fields[name]))
    np.testing.assert_array_equal(world.fields["volume"], PANEL.fields["volume"])
    o, h, low, c = (world.fields[k] for k in ("open", "high", "low", "close"))
    known = np.isfinite(c)
    assert (low[known] <= np.minimum(o, c)[known] * (1 + 1e-12)).all()
    assert (h[known] >= np.maximum(o, c)[known] * (1 - 1e-12)).all()
    old, new = (np.nanstd(worlds.log_returns(p.view("close")), axis=0) for p in (PANEL, world))
    # 240 normal returns: the standard deviation of a ratio of two sample deviations is 6.5 %; 16 names at 5 of these.
    assert np.abs(new / old - 1).max() < 0.33
    assert not np.array_equal(c[known], PANEL.fields["close"][known])


def test_resampled_worlds_keep_the_correlations():
    panel = reversal_panel()
    common = 0.03 * np.random.default_rng(0).standard_normal(panel.shape[0])
    close = panel.fields["close"] * np.exp(np.cumsum(common))[:, None]
    world = worlds.null_world(panel.replace(fields={"close": close}), "resampled", RNG)
    r = worlds.log_returns(world.fields["close"])[1:]
    off = np.corrcoef(r.T)[np.triu_indices(r.shape[1], 1)]
    # Truth: 0.03^2 / (0.03^2 + 0.02^2 / 0.75) = 0.63.
    assert 0.5 < off.mean() < 0.75


def test_same_seed_same_bits():
    a, b = (worlds.null_world(PANEL, "resampled", Stream(1, "x")) for _ in range(2))
    assert a.digest() == b.digest() != worlds.null_world(PANEL, "resampled", Stream(2, "x")).digest()
    first, second = (look(momentum, worlds=2) for _ in range(2))
    assert (first.detail, first.hits) == (second.detail, second.hits)


def test_rank_correlation_against_scipy():
    from scipy.stats import spearmanr

    g = np.random.default_rng(0)
    panel = reversal_panel()
    x = np.round(g.standard_normal(panel.shape), 1)  # with ties
    mine = worlds.daily(x, panel)
    r = worlds.log_returns(panel.view("close"))
    for lag_at, lag in enumerate(worlds.LAGS):
        for t in (0, 7, 100):
            assert mine[lag_at, t] == pytest.approx(spearmanr(x[t], r[t + lag]).statistic, abs=1e-12)
        assert np.isnan(mine[lag_at, -lag:]).all()


def test_what_cannot_be_asked_is_said():
    few = look(momentum, PANEL.assets(np.arange(4)))
    assert (few.status, few.detail) == ("not assessed", "needs prices of 5 listings or more, to rank across")
    short = look(momentum, PANEL.rows(14), worlds=2)
    assert (short.status, short.detail) == ("not assessed", "fewer than 60 dates with 5 numbers and returns")
    with pytest.raises(ConfigError, match=r"^audit: 1 null worlds have no spread; take 2 or more$"):
        look(momentum, worlds=1)
    with pytest.raises(DataError, match=r"^null worlds need a price; these bars hold only volume$"):
        worlds.null_world(PANEL.replace(fields={"volume": PANEL.fields["volume"]}), "walk", RNG)


def test_a_target_that_breaks_in_a_world_cannot_tell():
    seen = []

    def brittle(frame):
        seen.append(len(frame))
        if len(seen) > PANEL.shape[1]:
            raise ValueError("unknown prices")
        return frame.close

    result = look(brittle, worlds=2)
    assert result.status == "cannot tell"
    assert result.detail.startswith("resampled: brittle raised ValueError: unknown prices")
