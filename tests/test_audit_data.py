"""P14: prices that were adjusted later and called raw are found; raw, back-adjusted and made-up ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hitherto
from hitherto.audit import made_up_panel
from hitherto.audit.probes import data

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PRICES = ("open", "high", "low", "close")


def quoted(rows=400, listings=24, seed=0):
    """The made-up market in whole cents, with dividends enough that each listing has had some."""
    panel = made_up_panel(rows, listings, seed)
    fields = dict(panel.fields) | {k: np.round(panel.fields[k], 2) for k in PRICES}
    return panel.replace(fields=fields)


def adjusted(panel, to, adjustment="raw"):
    """Prices times the factor, as of the last row (-1) or of the first (0); the factor is gone."""
    fields = dict(panel.fields)
    factor = fields.pop("factor")
    ratio = factor / factor[to]
    fields |= {k: fields[k] * ratio for k in PRICES}
    return panel.replace(fields=fields, adjustment=adjustment)


def test_prices_adjusted_to_the_last_day_and_called_raw_are_found():
    result = data.probe(adjusted(quoted(), -1))
    (found,) = result.findings
    assert result.status == "LEAK"
    assert (found.leak, found.where, found.probe, found.of) == ("L28", "prices", "P14", "listings")
    # Listings with a factor step after their first 60 bars and none in their last 20, by hand.
    panel = quoted()
    steps = np.diff(panel.fields["factor"], axis=0) != 0
    assert found.hits <= int(steps.any(axis=0).sum())
    assert found.hits > 0.5 * found.tried
    assert found.note.endswith("and whole cents at its end: multiplied by later splits or dividends, though called raw")
    assert result.looked == ("L28",)


@pytest.mark.parametrize("float32", [False, True])
def test_raw_prices_pass_in_either_precision(float32):
    panel = quoted()
    if float32:
        panel = panel.replace(fields={k: v.astype(np.float32).astype(np.float64) for k, v in panel.fields.items()})
    result = data.probe(panel)
    assert (result.status, result.findings, result.detail) == ("ok", (), "")


def test_prices_adjusted_from_the_first_day_pass():
    """They know what was, not what will be; where they stay in cents to the end they were in cents from the start."""
    assert data.probe(adjusted(quoted(), 0)).findings == ()


def test_prices_declared_as_adjusted_later_and_prices_without_ticks_are_not_assessed():
    told = data.probe(adjusted(quoted(), -1, "restated_total_return"))
    assert (told.status, told.detail, told.looked) == ("not assessed", "prices are declared as adjusted later", ())
    smooth = data.probe(made_up_panel())
    said = "prices are not in whole cents: whether they were adjusted cannot be read from them"
    assert (smooth.status, smooth.detail, smooth.findings) == ("not assessed", said, ())
    no_price = made_up_panel()
    no_price = no_price.replace(fields={"volume": no_price.fields["volume"]})
    assert data.probe(no_price).detail == "no close and no open"


def test_few_splits_among_many_names_are_no_proof():
    panel = quoted()
    factor = panel.fields["factor"].copy()
    factor[:] = 1.0
    factor[200:, :2] = 3.0  # two of 24
    assert data.probe(adjusted(panel.replace(fields={**panel.fields, "factor": factor}), -1)).status == "ok"


def test_sixteenths_are_ticks():
    prices = np.array([[10.0625, 10.03125, 10.013, 10.01, 10.015]])
    assert data.on_tick(prices).tolist() == [[True, True, False, True, False]]


def test_a_file_that_nobody_leaves_is_told():
    panel = made_up_panel(rows=900, listings=40)
    assert data.survivors(panel) == "L24: none of 40 listings ends in 3.4 years; a file of survivors looks so"
    assert data.probe(panel).detail.endswith(data.survivors(panel))
    listed = panel.listed.copy()
    listed[500:, 3] = False
    assert data.survivors(panel.replace(listed=listed)) == ""
    assert data.survivors(made_up_panel()) == ""  # too few names, too short


@pytest.fixture(scope="module")
def ashares():
    import polars as pl

    path = DATA / "ashare" / "csi300_ever_daily.parquet"
    if not path.exists():
        pytest.skip("no ashare/csi300_ever_daily.parquet beside the repository")
    table = pl.read_parquet(path).with_columns(pl.col("symbol").cast(pl.String))
    kept = sorted(table["symbol"].unique())[::12]
    return hitherto.read_bars(table.filter(pl.col("symbol").is_in(kept)))


def test_real_raw_prices_pass_and_their_survivors_are_told(ashares):
    result = data.probe(ashares)
    assert (result.status, result.findings) == ("ok", ())
    assert result.detail == "L24: none of 62 listings ends in 15.0 years; a file of survivors looks so"


def test_real_prices_adjusted_to_the_last_day_and_called_raw_are_found(ashares):
    found = data.probe(adjusted(ashares, -1)).findings
    assert [f.leak for f in found] == ["L28"]
    assert found[0].hits > 0.9 * found[0].tried > 20
    assert data.probe(adjusted(ashares, 0)).findings == ()


@pytest.mark.parametrize("name", ["us_sp500_daily/daily", "us_sp500_vintages/sp500_daily_vintage_2018-02"])
def test_real_prices_split_adjusted_for_few_names_are_no_proof(name):
    import polars as pl

    path = DATA / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no {name} beside the repository")
    table = pl.read_parquet(path, columns=["date", "symbol", "close"]).with_columns(pl.col("symbol").cast(pl.String))
    table = table.filter(pl.col("close") > 0).unique(["date", "symbol"], keep="last", maintain_order=True)
    kept = sorted(table["symbol"].unique())[::5]
    assert data.probe(hitherto.read_bars(table.filter(pl.col("symbol").is_in(kept)))).findings == ()
