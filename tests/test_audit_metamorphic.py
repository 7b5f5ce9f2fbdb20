"""P7: each relation must catch what is planted for it, and pass every honest look-alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_panel

from hitherto.audit import FunctionTarget, from_function, made_up_panel
from hitherto.audit import change as changes
from hitherto.audit.probes import metamorphic as p7
from hitherto.errors import ConfigError, DataError
from hitherto.seeds import Stream

RNG = Stream(0, "P7")
ROWS = 120


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=ROWS, listings=12, seed=3)


@pytest.fixture(scope="module")
def restated(market):
    """The same prices as a vendor of adjusted prices sells them."""
    fields = {k: market.view(k) for k in market.fields if k != "factor"}
    return market.replace(fields=fields, adjustment="restated_total_return")


def wide(f):
    """A function of the (T, N) closes, dates by names, as a target."""

    def run(frame):
        return f(frame["close"], frame)

    run.__name__ = f.__name__
    return from_function(run, "wide")


def run(f, panel, *relations, gets="symbol", **options):
    target = f if hasattr(f, "run") else from_function(f, gets)
    return p7.outcomes(target, panel, RNG, relations or None, **options)


# ---- planted ----
def log_level(df):
    return np.log(df.close)


def cheap(df):
    """A price threshold: stocks under 5."""
    return (df.close < 5).astype(float)


def adjusted_level(df):
    return np.log(df.close * df.factor / df.factor.iloc[-1])


def zero_filled_rank(close, frame):
    return close.pct_change(fill_method=None).fillna(0).rank(axis=1)


def share_of_all_names(close, frame):
    return close.rank(axis=1) / close.shape[1]


def survivors_only(close, frame):
    kept = close.loc[:, close.iloc[-1].notna()]
    return kept.pct_change(5, fill_method=None).rank(axis=1, pct=True)


def carried_rank(close, frame):
    return close.ffill().pct_change(3).rank(axis=1, pct=True)


def first_column_is_the_market(close, frame):
    r = close.pct_change(fill_method=None)
    return r.sub(r.iloc[:, 0], axis=0)


def first_name_is_the_market(close, frame):
    r = close.pct_change(fill_method=None)
    return r.sub(r[min(r.columns)], axis=0)


def utc_weekday(panel):
    day = panel.times // (24 * changes.HOUR)
    return np.where(np.isfinite(panel.fields["close"]), ((day + 3) % 7)[:, None], np.nan).astype(float)


def scaled_by_length(df):
    return df.close.pct_change() * len(df)


def position(df):
    return df.close.pct_change().rolling(5).mean() + np.arange(len(df)) / len(df)


# ---- honest ----
def ratio(df):
    return df.close / df.close.shift(5) - 1


def log_return(df):
    return np.log(df.close).diff()


def ema_ratio(df):
    return df.close / df.close.ewm(span=12).mean()


def rolling_z(df):
    return (df.close - df.close.rolling(20).mean()) / df.close.rolling(20).std()


def price_volume(df):
    """Halved prices and a doubled volume move log(volume + 1) by a millionth more than log 2: no level."""
    return df.close.rolling(10).corr(np.log(df.volume + 1))


def several(df):
    import pandas as pd

    return pd.DataFrame({"range": df.high / df.low - 1, "turn": df.volume / df.volume.rolling(10).mean()})


def expanding_z(df):
    r = df.close.pct_change()
    return (r - r.expanding(20).mean()) / r.expanding(20).std()


def rank(close, frame):
    return close.pct_change(5, fill_method=None).rank(axis=1, pct=True)


def zscore(close, frame):
    r = close.pct_change(fill_method=None)
    return r.sub(r.mean(axis=1), axis=0).div(r.std(axis=1), axis=0)


def beta_to_the_mean(close, frame):
    r = close.pct_change(fill_method=None)
    m = r.mean(axis=1)
    return r.rolling(20, min_periods=10).cov(m).div(m.rolling(20, min_periods=10).var(), axis=0)


def market_level(close, frame):
    """The level of an equal-weight index remembers listings that ended, and may."""
    index = close.pct_change(fill_method=None).mean(axis=1).fillna(0).cumsum()
    return close.pct_change(fill_method=None).mul(0).add(index, axis=0)


def session_weekday(panel):
    day = panel.sessions.astype("datetime64[D]").astype(np.int64)
    return np.where(np.isfinite(panel.fields["close"]), ((day + 3) % 7)[:, None], np.nan).astype(float)


def hour(panel):
    """The hour of the decision: a clock time, not a date."""
    return np.where(np.isfinite(panel.fields["close"]), ((panel.times // changes.HOUR) % 24)[:, None], np.nan) * 1.0


HONEST = [price_volume, ratio, log_return, ema_ratio, rolling_z, several, expanding_z]
HONEST_WIDE = [rank, zscore, beta_to_the_mean, market_level]


@pytest.mark.parametrize("f", HONEST, ids=[f.__name__ for f in HONEST])
def test_honest_functions_of_one_listing_pass_every_relation(market, restated, f):
    for panel, options in ((market, {"scale_free": True}), (restated, {})):
        for out in run(f, panel, **options):
            assert not out.findings, (out.relation, out.findings)
            assert out.status == ("not assessed" if out.relation == "delay" else "ok"), out
            assert out.note == ("no joined field" if out.relation == "delay" else ""), out


@pytest.mark.parametrize("f", HONEST_WIDE, ids=[f.__name__ for f in HONEST_WIDE])
def test_honest_functions_of_the_cross_section_pass_every_relation(market, restated, f):
    for panel, options in ((market, {"scale_free": True}), (restated, {})):
        for out in run(wide(f), panel, **options):
            assert not out.findings, (out.relation, out.findings)
            if out.relation != "delay":
                assert out.status == "ok", out


@pytest.mark.parametrize("f", [session_weekday, hour], ids=lambda f: f.__name__)
def test_honest_clocks_pass(market, f):
    result = p7.probe(from_function(f, "panel"), market, RNG)
    assert result.status == "ok"
    assert ("hour reads the clock time: not judged" in result.detail) == (f is hour)


PLANTED = [
    (log_level, "scale", "L28"), (cheap, "scale", "L28"),
    (zero_filled_rank, "newcomer", "L26"), (share_of_all_names, "newcomer", "L26"),
    (carried_rank, "dead", "L26"), (survivors_only, "dead", "L24"),
    (first_column_is_the_market, "rename", "L32"), (first_name_is_the_market, "rename", "L32"),
    (utc_weekday, "clock", "L30"), (scaled_by_length, "length", "L32"), (position, "length", "L32"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "relation", "leak"), PLANTED, ids=[p[0].__name__ for p in PLANTED])
def test_planted_leaks_are_caught_by_their_relation(restated, f, relation, leak):
    target = from_function(f, "panel") if f is utc_weekday else f
    if f.__code__.co_argcount == 2:
        target = wide(f)
    (out,) = run(target, restated, relation)
    assert out.status == "LEAK"
    assert (out.hits, out.tried) == (1, 1)
    assert {x.leak for x in out.findings} == {leak}
    found = out.findings[0]
    assert (found.where, found.probe, found.of) == (f.__name__, "P7", "numbers")
    assert 0 < found.hits <= found.tried
    assert found.old != found.new
    assert restated.sessions[0] <= np.datetime64(found.first) <= restated.sessions[-1]


def test_a_log_level_shifts_by_log_2_and_a_ratio_by_nothing(restated):
    """Closed form: halving a price moves its log by -0.693 and leaves a ratio as it is."""
    (out,) = run(log_level, restated, "scale")
    assert out.findings[0].note == "prices halved: shift -0.693 (log 2 = 0.693)"
    assert out.findings[0].old - out.findings[0].new == pytest.approx(np.log(2))
    closes = np.isfinite(restated.fields["close"]).sum(axis=0)
    assert out.findings[0].hits in {int(closes[list(c)].sum()) for c in _halves(12)}
    (out,) = run(ratio, restated, "scale")
    assert out.status == "ok"


def _halves(n):
    from itertools import combinations

    return combinations(range(n), n // 2)


def test_prices_as_traded_may_have_a_level_unless_it_is_disclaimed(market):
    (out,) = run(log_level, market, "scale")
    assert (out.status, out.findings) == ("ok", ())
    assert out.note == "log_level moves by -0.693 with the level of prices, which are as traded"
    (out,) = run(log_level, market, "scale", scale_free=True)
    assert out.findings[0].leak == "L28"


def test_forward_adjusted_levels_feel_a_later_split_by_log_2(market):
    (out,) = run(adjusted_level, market, "scale")
    (found,) = out.findings
    when = str(market.sessions[ROWS // 2])
    assert (found.leak, found.note) == (
        "L28", f"a split after {when} moves what came before it: shift -0.693 (log 2 = 0.693)",
    )  # fmt: skip
    assert found.old - found.new == pytest.approx(np.log(2))

    def whole_sample(df):
        return df.close / df.close.mean()

    (out,) = run(whole_sample, market, "scale")
    assert [(x.leak, x.note) for x in out.findings] == [("L02", f"reads prices after {when}")]


def test_a_factor_that_ends_at_1_knows_later_dividends(market):
    """Such a factor is rebased with every dividend: levels of adjusted prices are judged, their ratios pass."""
    last = np.nanmax(market.fields["factor"], axis=0)
    forward = market.replace(fields={**market.fields, "factor": market.fields["factor"] / last})

    def level(df):
        return np.log(df.close * df.factor)

    def change(df):
        return (df.close * df.factor).pct_change(3, fill_method=None)

    assert changes.forward_based(forward)
    assert not changes.forward_based(market)
    assert run(level, market, "scale")[0].status == "ok"
    assert run(change, forward, "scale")[0].status == "ok"

    def alpha158_corr(df):
        return (df.close * df.factor).rolling(10).corr(np.log(df.volume / df.factor + 1))

    assert run(alpha158_corr, forward, "scale")[0].status == "ok"
    (found,) = run(level, forward, "scale")[0].findings
    assert (found.leak, found.note) == ("L28", "factor halved: shift -0.693 (log 2 = 0.693)")


def test_messages_say_what_was_changed(restated):
    first = str(restated.sessions[2 * ROWS // 3])
    ended = str(restated.sessions[ROWS // 2])
    notes = {
        (zero_filled_rank, "newcomer"): f"moves before the first bar of a listing that comes after {first}",
        (carried_rank, "dead"): f"still feels a listing that ended on {ended}",
        (survivors_only, "dead"): "gives no number to a listing that ends later, while it lives",
        (first_column_is_the_market, "rename"): "depends on the order of the listings",
        (first_name_is_the_market, "rename"): "depends on the names of the listings",
    }
    for (f, relation), note in notes.items():
        (out,) = run(wide(f), restated, relation)
        assert out.findings[-1].note == note
    (out,) = run(position, restated, "length")
    assert out.findings[0].note == "depends on the number of rows: 7 more follow"
    (out,) = run(wide(market_level), restated, "dead")
    assert out.note == "market_level remembers listings that ended, through its own past"
    (out,) = run(from_function(utc_weekday, "panel"), restated, "clock")
    assert out.findings[0].note == ("follows the UTC date of the decision, not the session: a date from the wrong zone")


def test_the_probe_puts_the_outcomes_together(restated):
    result = p7.probe(from_function(scaled_by_length), restated, RNG)
    assert (result.probe, result.status, result.cuts) == ("P7", "LEAK", (1, 6))
    assert result.tried == "scale, newcomer, dead, rename, clock, delay, length"
    assert result.detail == "delay not assessed: no joined field; length LEAK"
    assert result.hits == {"scaled_by_length": (1, 6)}
    again = p7.probe(from_function(scaled_by_length), restated, RNG)
    assert again.findings == result.findings
    with pytest.raises(ConfigError) as e:
        p7.probe(from_function(ratio), restated, RNG, ["scale", "shuffle"])
    assert str(e.value) == (
        "P7: no relation 'shuffle'; choose among scale, newcomer, dead, rename, clock, delay, length"
    )


def test_later_values_are_told_from_the_number_of_rows(restated):
    def whole_z(df):
        return (df.close - df.close.mean()) / df.close.std()

    (out,) = run(whole_z, restated, "length")
    assert [(x.leak, x.note) for x in out.findings] == [("L04", "reads the values of rows appended")]


def test_cutting_the_head_is_judged_with_a_known_lookback_only(restated):
    def cumulated(df):
        return df.close.pct_change().fillna(0).cumsum()

    assert run(cumulated, restated, "length")[0].status == "ok"
    assert run(cumulated, restated, "length", lookback=None)[0].status == "ok"
    (found,) = run(cumulated, restated, "length", lookback=20)[0].findings
    assert (found.leak, found.note) == ("L32", "depends on rows more than 20 before it, or on their number")
    assert run(rolling_z, restated, "length", lookback=30)[0].status == "ok"


# ---- joined events ----
def with_news(panel, kind, seed=0):
    """news of known skill: 'early' knows the next bar's return, 'slow' drifts for three bars, 'none' is noise."""
    rng = np.random.default_rng(seed)
    close = panel.view("close")
    ahead = np.zeros(panel.shape)
    ahead[:-1] = np.nan_to_num(close[1:] / close[:-1] - 1)
    noise = rng.standard_normal(panel.shape)
    if kind == "early":
        news = 50 * ahead + 0.5 * noise
    elif kind == "slow":
        news = sum(50 * np.vstack([ahead[k:], np.zeros((k, panel.shape[1]))]) for k in range(8)) + noise
    else:
        news = noise
    return panel.replace(fields={**panel.fields, "news": news})


def news(df):
    return df.news


def news_average(df):
    return df.news.rolling(3, min_periods=1).mean()


def news_tomorrow(df):
    return df.news.shift(-1)


def test_skill_that_hangs_on_the_first_bar_is_told(market):
    (out,) = run(news, with_news(market, "early"), "delay")
    (found,) = out.findings
    assert (found.leak, found.of) == ("L30", "dates")
    assert found.note.startswith("profit only if delay <= 0: IC 0.")
    assert found.note.endswith("at 0, 1, 2 bars")
    assert found.old is not None
    assert found.old > 0.5
    assert found.hits > 0.9 * found.tried


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("f", [news, news_average, ratio], ids=lambda f: f.__name__)
def test_slow_news_and_noise_pass(market, f, seed):
    """Noise alarms only above |IC| 0.1 with t >= 5: t of 119 dates is normal, P = 6e-7 a run; 18 runs: 1e-5."""
    for kind in ("slow", "none"):
        (out,) = run(f, with_news(market, kind, seed), "delay")
        assert out.status == "ok", out
        assert ("IC" in out.note) == (kind == "slow" and f is not ratio)


def test_delayed_news_must_not_be_read_ahead(market):
    (out,) = run(news_tomorrow, with_news(market, "none"), "delay")
    (found,) = out.findings
    assert (found.leak, found.note) == ("L30", "delayed by a bar, it still uses what news say later")


def test_the_delay_curve_is_the_mean_daily_correlation(market):
    """Oracle: numpy's correlation, date by date."""
    panel = with_news(market, "early")
    got = p7.delay_curve(from_function(news), panel, ("news",), (0, 1))["news"]
    close = panel.view("close")
    for k, (ic, t) in enumerate(got):
        daily = []
        for row in range(k, panel.shape[0] - 1):
            a, b = panel.fields["news"][row - k], close[row + 1] / close[row] - 1
            ok = np.isfinite(a) & np.isfinite(b)
            if ok.sum() >= 5:
                daily.append(np.corrcoef(a[ok], b[ok])[0, 1])
        assert ic == pytest.approx(np.mean(daily))
        assert t == pytest.approx(np.mean(daily) / np.std(daily) * len(daily) ** 0.5)


# ---- targets that cannot be asked, other kinds ----
def test_what_cannot_be_asked_is_not_assessed(restated):
    def twelve_names_only(close, frame):
        if close.shape[1] != 12:
            raise ValueError("12 names")
        return close.pct_change(fill_method=None)

    def named(close, frame):
        return close.sub(close["MADE00"], axis=0).pct_change(fill_method=None) * 0

    out = {o.relation: o for o in run(wide(twelve_names_only), restated)}
    assert (out["newcomer"].status, out["newcomer"].note) == (
        "not assessed",
        "twelve_names_only raised ValueError: 12 names",
    )
    assert out["dead"].status == "not assessed"
    assert out["scale"].status == "ok"
    (out,) = run(wide(named), restated, "rename")
    assert (out.status, out.note) == ("ok", "other names could not be asked: named raised KeyError: 'MADE00'")
    with pytest.raises(DataError):
        run(ratio, restated, "delay", events=["earnings"])
    twice = restated.replace(sessions=np.repeat(restated.sessions[: ROWS // 2], 2))
    (out,) = run(ratio, twice, "clock")
    assert (out.status, out.note) == ("not assessed", "several decisions a session: numbers may read the clock")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_in_another_order_do_not_alarm(dtype):
    panel = make_panel(T=80, N=40, seed=5)

    def nets(p):
        r = np.full(p.shape, np.nan, dtype)
        close = p.fields["close"]
        r[1:] = np.log(close[1:]) - np.log(close[:-1])
        r[1:] -= np.nanmean(r[1:], axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):  # appended rows do not move
            r[1:] /= np.nanstd(r[1:], axis=1, keepdims=True)
        return {"z": r}

    result = p7.probe(FunctionTarget("nets", nets), panel, RNG, scale_free=True)
    assert result.status == "ok", result


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_other_names_are_fresh_distinct_and_keep_the_board(seed):
    names = ("SH600005", "SZ300104", "600519.SH", "AAPL", "A", "BRK.B")
    new = changes.other_names(names, np.random.default_rng(seed))
    assert len({*names, *new}) == 12
    assert [new[0][:5], new[1][:5], new[2][:3], new[2][6:]] == ["SH600", "SZ300", "600", ".SH"]


def test_changed_panels_are_what_they_say(market):
    alive = np.arange(ROWS) > 100
    wider = changes.joined_by(market, 3, alive, "MADE00", 2.0)
    assert wider.symbols[-1] == "MADE00_"
    assert not wider.listed[:101, -1].any()
    assert np.isnan(wider.fields["close"][:101, -1]).all()
    assert np.array_equal(wider.fields["close"][101:, -1], 2 * market.fields["close"][101:, 3], equal_nan=True)
    assert all(np.array_equal(wider.fields[k][:, :12], v, equal_nan=True) for k, v in market.fields.items())
    longer = changes.extended(market, 3)
    assert longer.shape == (ROWS + 3, 12)
    assert (np.diff(longer.sessions[-4:].astype("datetime64[D]").astype(int)) > 0).all()
    assert all(np.array_equal(v[ROWS:], np.repeat(v[ROWS - 1 : ROWS], 3, axis=0), equal_nan=True)
               for v in longer.fields.values())  # fmt: skip
    later = changes.later_known(market, ["volume"], 2)
    assert np.array_equal(later.fields["volume"][2:], market.fields["volume"][:-2], equal_nan=True)
    assert np.isnan(later.fields["volume"][:2]).all()
    half = np.arange(12) < 6
    small = changes.scaled(market, half, ["close"], ["factor"], 0.5)
    assert np.array_equal(small.view("close"), market.view("close"), equal_nan=True)
    assert np.array_equal(small.fields["close"][:, 6:], market.fields["close"][:, 6:], equal_nan=True)
