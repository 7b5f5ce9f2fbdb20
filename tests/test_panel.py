"""Panel: what is known at t, adjusted views, as-of joins, digests, and the door to the future."""

import numpy as np
import polars as pl
import pytest
from toys import make_panel

import hitherto as ht
from hitherto.errors import DataError, FutureError
from hitherto.outcome import Outcome
from hitherto.panel import read_bars


def test_views_are_adjusted_as_qlib_does():
    panel = make_panel(T=50, N=3, factor=True)
    f = panel.fields["factor"]
    assert np.array_equal(panel.view("close"), panel.fields["close"] * f)
    assert np.array_equal(panel.view("volume"), panel.fields["volume"] / f)
    assert np.array_equal(panel.view("factor"), f)
    with pytest.raises(DataError, match="needs amount; these bars hold only open, high, low, close, volume, factor"):
        panel.view("amount")


def test_arrays_are_read_only_and_shapes_checked():
    panel = make_panel()
    with pytest.raises(ValueError, match="read-only"):
        panel.fields["close"][0, 0] = 1.0
    with pytest.raises(DataError, match="'close' has shape"):
        panel.replace(fields={"close": np.ones((3, 3))})
    with pytest.raises(DataError, match="must rise strictly"):
        panel.replace(times=panel.times[::-1].copy())


def test_asof_joins_only_what_was_known():
    panel = make_panel(T=10, N=2)
    hour = 3_600_000_000_000
    slow = panel.rows(3)
    slow = slow.replace(times=panel.times[[1, 4, 7]] + hour, sessions=panel.sessions[[1, 4, 7]],
                        fields={"score": np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])})  # fmt: skip
    joined = panel.asof(slow, lag=0, prefix="news_")
    # published an hour after the decision of rows 1, 4 and 7: in force from rows 2, 5 and 8 on
    wanted = [np.nan, np.nan, 1, 1, 1, 2, 2, 2, 3, 3]
    assert np.array_equal(joined.fields["news_score"][:, 0], wanted, equal_nan=True)
    late = panel.asof(slow, lag=24 * hour)
    assert np.array_equal(late.fields["score"][:, 0], [np.nan, *wanted[:-1]], equal_nan=True)
    lacking = panel.asof(slow.assets(np.array([1])), lag=0)
    assert np.isnan(lacking.fields["score"][:, 0]).all()
    assert lacking.fields["score"][5, 1] == 20.0


def test_the_digest_sees_every_number_and_mask():
    panel = make_panel(T=20, N=3)
    assert panel.digest() == make_panel(T=20, N=3).digest()
    close = panel.fields["close"].copy()
    close[7, 1] = np.nextafter(close[7, 1], np.inf)
    universe = panel.universe.copy()
    universe[3, 2] = False
    digests = {panel.digest(), panel.replace(fields={**panel.fields, "close": close}).digest(),
               panel.replace(universe=universe).digest(), panel.replace(zone="Asia/Shanghai").digest(),
               panel.rows(19).digest(), panel.assets(np.array([0, 2, 1])).digest()}  # fmt: skip
    assert len(digests) == 6


def test_past_ends_at_t():
    panel = make_panel(T=20, N=3, factor=True)
    past = panel.until(5)
    assert np.array_equal(past.view("close"), panel.view("close")[:6])
    with pytest.raises(FutureError, match=r"asked for row 20; the panel knows rows 0\.\.19"):
        panel.until(20)


def test_read_bars_takes_frames_and_membership(tmp_path):
    days = [f"2020-01-{d:02d}" for d in range(1, 11)]
    frame = pl.DataFrame(
        {"date": days * 2, "symbol": ["A"] * 10 + ["B"] * 10, "close": [float(i + 1) for i in range(20)]}
    )
    members = pl.DataFrame({"symbol": ["A", "C"], "start": ["2020-01-03", "2020-01-01"], "end": ["2020-01-06", None]})
    members = members.with_columns(pl.col("start").str.to_date(), pl.col("end").str.to_date())
    members.write_parquet(tmp_path / "m.parquet")
    panel = ht.read_bars(frame, membership=tmp_path / "m.parquet")
    assert panel.universe[:, 0].tolist() == [False] * 2 + [True] * 4 + [False] * 4
    assert not panel.universe[:, 1].any()
    assert "1 of them have no prices" in panel.notes["membership"] or "no prices" in panel.notes["membership"]
    assert read_bars("sample:us20").shape[1] == 20


def test_outcome_reads_forward_and_moves_over_halts():
    panel = make_panel(T=8, N=1)
    close = panel.fields["close"].copy()
    close[3:5] = np.nan
    halted = np.zeros((8, 1), bool)
    halted[3:5] = True
    outcome = Outcome(panel.replace(fields={**panel.fields, "close": close}, suspended=halted))
    assert np.array_equal(outcome.ahead("close", 2)[:, 0], [*close[2:, 0], np.nan, np.nan], equal_nan=True)
    price, row = outcome.next_known("close")
    assert row[:, 0].tolist() == [0, 1, 2, 5, 5, 5, 6, 7]
    assert price[3, 0] == close[5, 0]
    assert outcome.last_known()[4, 0] == close[2, 0]
    assert [bool(m.tradable[0]) for m in outcome.markets()] == [True, True, True, False, False, True, True, True]
    assert outcome.market(5).last[0] == close[2, 0]


def test_growth_is_against_the_last_known_factor():
    panel = make_panel(T=5, N=1)
    factor = np.array([[1.0], [1.0], [np.nan], [1.5], [1.5]])
    outcome = Outcome(panel.replace(fields={**panel.fields, "factor": factor}))
    assert outcome.growth()[:, 0].tolist() == [1.0, 1.0, 1.0, 1.5, 1.0]
