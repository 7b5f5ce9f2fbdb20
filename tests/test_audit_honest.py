"""Honest code of other kinds that once alarmed, and leaks that once passed: found by people who tried."""

import numpy as np
import pandas as pd
import pytest

from hitherto.audit import audit, from_function, from_splitter, made_up_panel
from hitherto.audit.probes import ledger, metamorphic, truncation
from hitherto.audit.tables import read_fills
from hitherto.errors import ConfigError
from hitherto.panel import Panel
from hitherto.seeds import Stream


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=200, listings=12)


def five_wildest(wide):
    wild = wide["close"].pct_change(fill_method=None).rolling(20, min_periods=10).std()
    return wild.where(wild.rank(axis=1, ascending=False) <= 5)


def of_those_who_live(wide):
    alive = wide["close"].iloc[-1].notna()
    return wide["close"].pct_change(3, fill_method=None).loc[:, alive[alive].index]


def test_a_changing_choice_of_names_is_no_list_of_survivors(market):
    for f, leaks in ((five_wildest, set()), (of_those_who_live, {"L24"})):
        said = metamorphic.probe(from_function(f, "wide"), market, Stream(0, "P7"), ["dead"])
        assert {x.leak for x in said.findings} == leaks, f.__name__


def single(panel: Panel):
    """Numbers of a float32 net behind a function: their last bits follow the length, within rounding."""
    x = np.nan_to_num(panel.fields["close"]).astype(np.float32) / 7
    wobble = 1 + np.float32(1e-7) * (len(x) % 3)
    return {"y": (x * wobble).astype(np.float64)}


def double(panel: Panel):
    """The same size of change in float64 is no rounding."""
    x = np.nan_to_num(panel.fields["close"]) / 7
    return {"y": x * (1 + 1e-7 * (len(x) % 3))}


def test_rounding_of_float32_is_no_leak_and_of_float64_would_be(market):
    for f, status in ((single, "ok"), (double, "LEAK")):
        said = truncation.probe(from_function(f, "panel"), market, np.array([101, 129, 151]))
        assert said.status == status, f.__name__


def test_purchases_at_the_low_are_seen_beside_honest_sales(market):
    low, high, o, c = (market.fields[k] for k in ("low", "high", "open", "close"))
    rng = np.random.default_rng(0)
    rows, names = np.nonzero(np.isfinite(c))
    keep = rng.random(len(rows)) < 0.2
    rows, names = rows[keep], names[keep]
    buy = np.arange(len(rows)) % 2 == 0
    between = low + (high - low) * rng.random(c.shape)
    for cheat in (False, True):
        price = np.where(buy & cheat, low[rows, names], between[rows, names])
        table = pd.DataFrame({
            "date": market.sessions[rows], "symbol": np.array(market.symbols)[names],
            "side": np.where(buy, "buy", "sell"), "shares": 100, "price": price,
        })  # fmt: skip
        said = ledger.best_price(read_fills(table, market), market)
        assert said.status == ("LEAK" if cheat else "ok"), said.detail
    assert np.isfinite(o).any()


def test_a_splitter_that_names_rows_which_are_not_there_is_told_so():
    with pytest.raises(ConfigError, match=r"split0 names test sample 12 of 10; give row numbers below 10"):
        from_splitter(lambda n: [(np.arange(5), np.array([8, 12]))], 10, 1, 1)


def test_wide_columns_that_are_no_listings_are_told_so(market):
    with pytest.raises(ConfigError, match="which is no listing; return one column per symbol"):
        audit(lambda wide: wide.pct_change(5, fill_method=None), market, gets="wide")
