"""Dated market rules: conformance vectors worked by hand, an independent rule set, and the rulings on a panel."""

import dataclasses
import datetime as dt
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError, DataError
from hitherto.exchange import rules as mod
from hitherto.exchange import terms as col
from hitherto.exchange.records import BOARDS, FOLDER, parse
from hitherto.exchange.rules import fees, lay, limit_prices, limit_ticks, load
from hitherto.exchange.status import Status
from hitherto.panel import Panel

CN, US = load("cn"), load("us")
D = dt.date.fromisoformat

# ---- limits: board, status, session number, date, reference -> up, down --------------------------------------------
# The published rule is share x reference, half up to the tick (0.01; funds 0.001). E.g. 10.05 x 1.1 = 11.055 -> 11.06.
LIMITS = """
main_sse  normal 1 1996-12-16 skip
main_sse  normal 1 2010-01-04   10.00   11.00    9.00
main_sse  normal 1 2010-01-04    9.99   10.99    8.99
main_sse  normal 1 2010-01-04   10.05   11.06    9.05
main_sse  normal 1 2010-01-04    1.05    1.16    0.95
main_sse  normal 1 2010-01-04    0.95    1.05    0.86
main_sse  normal 1 2010-01-04    3.33    3.66    3.00
main_sse  normal 1 2010-01-04   27.35   30.09   24.62
main_sse  normal 1 2010-01-04   14.85   16.34   13.37
main_sse  normal 1 2021-02-10 1700.00 1870.00 1530.00
main_sse  normal 1 2021-02-10  100.01  110.01   90.01
main_sse  normal 1 2024-12-31    4.55    5.01    4.10
main_szse normal 1 2010-01-04   10.00   11.00    9.00
main_szse normal 1 2010-01-04   10.05   11.06    9.05
main_szse normal 1 2020-08-24   10.05   11.06    9.05
main_szse normal 1 2026-07-06   10.05   11.06    9.05
main_szse normal 1 2024-12-31    7.15    7.87    6.44
main_szse normal 1 2024-12-31    0.65    0.72    0.59
chinext   normal 1 2009-11-02   25.37   27.91   22.83
chinext   normal 1 2020-08-21   25.37   27.91   22.83
chinext   normal 1 2020-08-23   25.37   27.91   22.83
chinext   normal 1 2020-08-24   25.37   30.44   20.30
chinext   normal 1 2020-08-25   10.00   12.00    8.00
chinext   normal 1 2024-12-31    3.33    4.00    2.66
chinext   normal 1 2024-12-31    0.99    1.19    0.79
star      normal 1 2019-07-29   33.33   40.00   26.66
star      normal 1 2019-07-29   10.00   12.00    8.00
star      normal 1 2024-12-31   41.03   49.24   32.82
bse       normal 1 2021-11-16   10.01   13.01    7.01
bse       normal 1 2021-11-16   15.15   19.70   10.61
bse       normal 1 2024-12-31    3.35    4.36    2.35
etf_sse   normal 1 2010-01-04   2.345   2.580   2.111
etf_sse   normal 1 2010-01-04   1.005   1.106   0.905
etf_szse  normal 1 2010-01-04   3.333   3.666   3.000
etf_szse  normal 1 2024-12-31   0.555   0.611   0.500
etf20_sse normal 1 2020-08-21   1.005   1.206   0.804
etf20_sse normal 1 2024-12-31   0.777   0.932   0.622
etf20_szse normal 1 2020-08-24  1.005   1.206   0.804
etf_t0_sse normal 1 2015-01-19  2.345   2.580   2.111
etf_t0_szse normal 1 2024-12-31 1.005   1.106   0.905
main_sse  st     1 2010-01-04    3.50    3.68    3.33
main_sse  st     1 2010-01-04   10.10   10.61    9.60
main_sse  st     1 2010-01-04    2.00    2.10    1.90
main_sse  st     1 2026-07-03    4.70    4.94    4.47
main_sse  st     1 2026-07-05    4.71    4.95    4.47
main_sse  st     1 2026-07-06    4.70    5.17    4.23
main_sse  st     1 2026-07-06    4.71    5.18    4.24
main_szse st     1 2010-01-04    3.50    3.68    3.33
main_szse st     1 2026-07-05    3.50    3.68    3.33
main_szse st     1 2026-07-06    3.50    3.85    3.15
chinext   st     1 2020-08-21    5.01    5.26    4.76
chinext   st     1 2020-08-23    5.01    5.26    4.76
chinext   st     1 2020-08-24    5.01    6.01    4.01
chinext   st     1 2026-07-06    5.01    6.01    4.01
star      st     1 2019-07-22    5.01    6.01    4.01
star      st     1 2026-07-06    5.01    6.01    4.01
bse       st     1 2021-11-15    5.01    6.51    3.51
bse       st     1 2026-07-06    5.01    6.51    3.51
main_sse  ipo    1 2010-06-01   10.00 none
main_sse  ipo    1 2013-12-12   10.00 none
main_sse  ipo    1 2013-12-13   10.00   14.40    6.40
main_sse  ipo    1 2013-12-13    7.77   11.19    4.97
main_sse  ipo    2 2013-12-16   14.40   15.84   12.96
main_sse  ipo    1 2023-04-07   10.00   14.40    6.40
main_sse  ipo    1 2023-04-10   10.00 none
main_sse  ipo    5 2023-04-14   10.00 none
main_sse  ipo    6 2023-04-17   10.00   11.00    9.00
main_szse ipo    1 2010-06-01   10.00 none
main_szse ipo    1 2013-12-13   10.00 none
main_szse ipo    1 2014-06-12   10.00 none
main_szse ipo    1 2014-06-13   10.00   14.40    6.40
main_szse ipo    1 2014-06-13    5.29    7.62    3.39
main_szse ipo    2 2014-06-16   14.40   15.84   12.96
main_szse ipo    1 2023-04-07   10.00   14.40    6.40
main_szse ipo    1 2023-04-10   10.00 none
main_szse ipo    5 2023-04-14   10.00 none
main_szse ipo    6 2023-04-17   10.00   11.00    9.00
chinext   ipo    1 2009-10-30   10.00 none
chinext   ipo    2 2009-11-02   10.00   11.00    9.00
chinext   ipo    1 2014-06-12   10.00 none
chinext   ipo    1 2014-06-13   10.00   14.40    6.40
chinext   ipo    1 2020-08-21   10.00   14.40    6.40
chinext   ipo    1 2020-08-24   10.00 none
chinext   ipo    5 2020-08-28   10.00 none
chinext   ipo    6 2020-08-31   10.00   12.00    8.00
star      ipo    1 2019-07-22   10.00 none
star      ipo    5 2019-07-26   10.00 none
star      ipo    6 2019-07-29   10.00   12.00    8.00
bse       ipo    1 2021-11-15   10.00 none
bse       ipo    2 2021-11-16   10.00   13.00    7.00
main_sse  delisting 1 2013-01-04 10.00  11.00    9.00
main_sse  delisting 2 2013-01-07 10.00  11.00    9.00
main_sse  delisting 1 2020-12-30 10.00  11.00    9.00
main_sse  delisting 1 2020-12-31 10.00 none
main_sse  delisting 2 2020-12-31 10.00  11.00    9.00
main_szse delisting 1 2012-12-17 10.00  11.00    9.00
main_szse delisting 2 2020-12-30 10.00  11.00    9.00
main_szse delisting 1 2020-12-31 10.00 none
main_szse delisting 2 2021-01-04 10.00  11.00    9.00
chinext   delisting 1 2012-12-17 10.00  11.00    9.00
chinext   delisting 2 2020-08-23 10.00  11.00    9.00
chinext   delisting 1 2020-12-31 10.00 none
chinext   delisting 2 2020-12-31 10.00  12.00    8.00
star      delisting 1 2019-07-22 10.00  12.00    8.00
star      delisting 1 2020-12-30 10.00  12.00    8.00
star      delisting 1 2020-12-31 10.00 none
star      delisting 2 2020-12-31 10.00  12.00    8.00
star      delisting 1 2023-04-10 10.00 none
bse       delisting 1 2021-11-15 10.00 none
bse       delisting 2 2021-11-16 10.00  13.00    7.00
main_szse normal 1 2011-02-27    0.04    0.04    0.04
main_szse normal 1 2011-02-28    0.04    0.05    0.03
main_szse normal 1 2011-02-27    0.05    0.06    0.05
main_szse normal 1 2011-02-28    0.05    0.06    0.04
chinext   normal 1 2011-02-27    0.03    0.03    0.03
chinext   normal 1 2011-02-28    0.03    0.04    0.02
main_sse  normal 1 2023-04-09    0.04    0.04    0.04
main_sse  normal 1 2023-04-10    0.04    0.05    0.03
main_sse  st     1 2023-04-09    0.10    0.11    0.10
main_sse  st     1 2023-04-10    0.10    0.11    0.09
main_sse  st     1 2023-04-09    0.09    0.09    0.09
main_sse  st     1 2023-04-10    0.09    0.10    0.08
star      normal 1 2023-04-09    0.02    0.02    0.02
star      normal 1 2023-04-10    0.02    0.03    0.01
etf_sse   normal 1 2023-04-09   0.004   0.004   0.004
etf_sse   normal 1 2023-04-10   0.004   0.005   0.003
"""
LIMITS = [r.split() for r in LIMITS.strip().splitlines() if "skip" not in r]

# ---- fees: board, side, date, shares, price, commission in bps, handling -> commission, tax, transfer, other in fen --
# 1000 shares at 10.00 are 1,000,000 fen. E.g. Shanghai 2012-06-01: 1000 x 1 yuan x 0.0375 % = 0.375 yuan = 37.5 -> 38.
FEES = """
main_sse  buy  2008-04-23 1000 10.00  5   inside  500 3000  50   0
main_sse  sell 2008-04-23 1000 10.00  5   inside  500 3000  50   0
main_sse  buy  2008-04-24 1000 10.00  5   inside  500 1000  50   0
main_sse  buy  2008-09-18 1000 10.00  5   inside  500 1000  50   0
main_sse  buy  2008-09-19 1000 10.00  5   inside  500    0  50   0
main_sse  sell 2008-09-19 1000 10.00  5   inside  500 1000  50   0
main_sse  sell 2012-05-31 1000 10.00  5   inside  500 1000  50   0
main_sse  sell 2012-06-01 1000 10.00  5   inside  500 1000  38   0
main_sse  sell 2012-08-31 1000 10.00  5   inside  500 1000  38   0
main_sse  sell 2012-09-01 1000 10.00  5   inside  500 1000  30   0
main_sse  buy  2015-07-31 1000 10.00  5   inside  500    0  30   0
main_sse  buy  2015-08-01 1000 10.00  5   inside  500    0  20   0
main_sse  buy  2015-07-31 1000 99.00  5   inside 4950    0  30   0
main_sse  buy  2015-08-01 1000 99.00  5   inside 4950    0 198   0
main_sse  buy  2022-04-28 1000 10.00  5   inside  500    0  20   0
main_sse  buy  2022-04-29 1000 10.00  5   inside  500    0  10   0
main_sse  sell 2023-08-27 1000 10.00  5   inside  500 1000  10   0
main_sse  sell 2023-08-28 1000 10.00  5   inside  500  500  10   0
main_sse  buy  2023-08-28 1000 10.00  5   inside  500    0  10   0
main_szse buy  2008-01-02 1000 10.00  5   inside  500 3000  26   0
main_szse buy  2015-07-31 1000 10.00  5   inside  500    0  26   0
main_szse buy  2015-08-01 1000 10.00  5   inside  500    0  20   0
main_szse sell 2022-04-29 1000 10.00  5   inside  500 1000  10   0
chinext   sell 2012-05-31 1000 10.00  5   inside  500 1000  26   0
chinext   sell 2023-08-28 1000 10.00  5   inside  500  500  10   0
star      sell 2020-07-01  201 50.00  3   inside  500 1005  20   0
star      sell 2023-08-28  201 50.00  6   inside  603  503  10   0
bse       buy  2021-11-15 1000 10.00  5   inside  500    0  25   0
bse       sell 2022-04-28 1000 10.00  5   inside  500 1000  25   0
bse       sell 2022-04-29 1000 10.00  5   inside  500 1000  10   0
bse       sell 2023-08-28 1000 10.00  5   inside  500  500  10   0
etf_sse   sell 2024-01-02 1000 2.345  3   inside  500    0   0   0
etf_sse   sell 2024-01-02 1000 2.345 30   inside  704    0   0   0
etf_szse  buy  2024-01-02 33300 1.005 3   inside 1004    0   0   0
main_sse  buy  2024-01-02  300 33.33  2.5 inside  500    0  10   0
main_sse  sell 2024-01-02  300 33.33  2.5 inside  500  500  10   0
main_sse  buy  2024-01-02 50000 17.89 2.5 inside 22363   0 895   0
main_sse  sell 2024-01-02 50000 17.89 2.5 inside 22363 44725 895 0
main_sse  sell 2024-01-02 50000 17.89 2.5 beside 22363 44725 895 4839
main_sse  buy  2024-01-02  100  3.21  2.5 inside  500    0   0   0
main_sse  sell 2024-01-02  100  3.21  2.5 inside  500   16   0   0
main_sse  buy  2024-01-02  100  5.00 30   inside  500    0   1   0
main_sse  buy  2024-01-02  100  4.99 30   inside  500    0   0   0
main_sse  buy  2024-01-02 1000 16.66 30   inside 4998    0  17   0
main_sse  buy  2024-01-02 1000 10.00 30   inside 3000    0  10   0
main_sse  buy  2012-07-01 1000 10.00  5   beside  500    0  38 107
main_szse buy  2012-08-31 1000 10.00  5   beside  500    0  26 107
main_szse buy  2015-07-31 1000 10.00  5   beside  500    0  26  90
main_szse buy  2015-08-01 1000 10.00  5   beside  500    0  20  69
main_szse buy  2023-08-27 1000 10.00  5   beside  500    0  10  69
main_szse buy  2023-08-28 1000 10.00  5   beside  500    0  10  54
star      buy  2023-08-28 1000 10.00  5   beside  500    0  10  54
bse       buy  2021-11-15 1000 10.00  5   beside  500    0  25 520
bse       buy  2022-12-01 1000 10.00  5   beside  500    0  10 270
bse       buy  2023-08-28 1000 10.00  5   beside  500    0  10 145
us        buy  2024-06-03 1000 1000   0   inside    0    0   0   0
us        sell 2009-04-09 1000 1000   0   inside    0  560   0   8
us        sell 2009-04-10 1000 1000   0   inside    0 2570   0   8
us        sell 2010-01-14 1000 1000   0   inside    0 2570   0   8
us        sell 2010-01-15 1000 1000   0   inside    0 1270   0   8
us        sell 2010-04-01 1000 1000   0   inside    0 1690   0   8
us        sell 2011-01-21 1000 1000   0   inside    0 1920   0   8
us        sell 2011-06-30 1000 1000   0   inside    0 1920   0   8
us        sell 2011-07-01 1000 1000   0   inside    0 1920   0   9
us        sell 2012-02-21 1000 1000   0   inside    0 1800   0   9
us        sell 2012-03-01 1000 1000   0   inside    0 1800   0  10
us        sell 2012-04-01 1000 1000   0   inside    0 2240   0  10
us        sell 2012-07-01 1000 1000   0   inside    0 2240   0  12
us        sell 2013-05-24 1000 1000   0   inside    0 2240   0  12
us        sell 2013-05-25 1000 1000   0   inside    0 1740   0  12
us        sell 2014-03-18 1000 1000   0   inside    0 2210   0  12
us        sell 2015-02-14 1000 1000   0   inside    0 1840   0  12
us        sell 2016-02-16 1000 1000   0   inside    0 2180   0  12
us        sell 2017-07-04 1000 1000   0   inside    0 2310   0  12
us        sell 2018-05-22 1000 1000   0   inside    0 1300   0  12
us        sell 2019-04-16 1000 1000   0   inside    0 2070   0  12
us        sell 2020-02-18 1000 1000   0   inside    0 2210   0  12
us        sell 2021-02-25 1000 1000   0   inside    0  510   0  12
us        sell 2022-01-03 1000 1000   0   inside    0  510   0  13
us        sell 2022-05-14 1000 1000   0   inside    0 2290   0  13
us        sell 2023-02-27 1000 1000   0   inside    0  800   0  15
us        sell 2024-01-02 1000 1000   0   inside    0  800   0  17
us        sell 2024-05-22 1000 1000   0   inside    0 2780   0  17
us        sell 2025-05-14 1000 1000   0   inside    0    0   0  17
us        sell 2026-01-02 1000 1000   0   inside    0    0   0  20
us        sell 2026-04-04 1000 1000   0   inside    0 2060   0  20
us        sell 2026-10-01 1000 1000   0   inside    0 2060   0   0
us        sell 2010-01-04 100000 10   0   inside    0 2570   0 375
us        sell 2019-01-02 100000 10   0   inside    0 1300   0 595
us        sell 2024-01-02 100000 10   5   inside 50000 800   0 830
us        sell 2026-01-02 100000 10   0   inside    0    0   0 979
"""
FEES = [r.split() for r in FEES.strip().splitlines()]

# ---- orders: what, board, date -> value in the units of Record -----------------------------------------------------
ORDERS = """
lot main_sse 2010-01-04 100 100
lot main_szse 2010-01-04 100 100
lot chinext 2010-01-04 100 100
lot chinext 2020-08-24 100 100
lot star 2019-07-22 200 1
lot bse 2021-11-15 100 1
lot etf_sse 2010-01-04 100 100
lot us 2010-01-04 1 1
settle main_sse 2010-01-04 1
settle main_szse 1995-01-01 1
settle chinext 2009-10-30 1
settle star 2019-07-22 1
settle bse 2021-11-15 1
settle etf_sse 2010-01-04 1
settle etf20_szse 2020-08-24 1
settle etf_t0_sse 2015-01-19 0
settle us 2010-01-04 0
tick main_sse 2010-01-04 100
tick bse 2021-11-15 100
tick etf_szse 2010-01-04 10
tick us 2010-01-04 100
band main_sse 2023-04-09 0
band main_sse 2023-04-10 1
band chinext 2011-02-27 0
band chinext 2011-02-28 1
band star 2023-04-10 1
band us 2024-01-02 0
commission main_sse 2010-01-04 300000
minimum main_sse 2010-01-04 500
minimum us 2010-01-04 0
"""
ORDERS = [r.split() for r in ORDERS.strip().splitlines()]


def test_there_are_enough_vectors():
    assert len(LIMITS) + len(FEES) + len(ORDERS) >= 200


@pytest.mark.parametrize("row", LIMITS, ids=" ".join)
def test_limit_vectors(row):
    board, status, day, date, reference, *limits = row
    got = limit_prices(CN, float(reference), D(date), board, status, int(day))
    if int(day) > 1 and status == "ipo":  # the listing day decides: it lies day - 1 sessions before, in the same regime
        got = limit_prices(CN, float(reference), D(date), board, status, int(day), D(date) - dt.timedelta(int(day) - 1))
    assert got == (None if limits == ["none"] else (float(limits[0]), float(limits[1])))


@pytest.mark.parametrize("row", FEES, ids=" ".join)
def test_fee_vectors(row):
    board, side, date, shares, price, bps, handling, *parts = row
    book = US if board == "us" else CN
    got = fees(book, side, int(shares), float(price), D(date), board, fee_bps=float(bps), handling=handling)
    assert got == tuple(map(int, parts))


@pytest.mark.parametrize("row", ORDERS, ids=" ".join)
def test_order_vectors(row):
    what, board, date, *value = row
    assert (US if board == "us" else CN).at(what, D(date), board).value == tuple(map(int, value))


def test_a_listing_before_a_reform_keeps_its_rule():
    # Listed on Friday under the old rule, second session on the day of the reform: the board's ordinary limit holds.
    assert limit_prices(CN, 10.0, D("2020-08-24"), "chinext", "ipo", 2, D("2020-08-21")) == (12.0, 8.0)
    assert limit_prices(CN, 10.0, D("2023-04-10"), "main_sse", "ipo", 2, D("2023-04-07")) == (11.0, 9.0)
    assert limit_prices(CN, 10.0, D("2023-04-11"), "main_sse", "ipo", 2, D("2023-04-10")) is None


# ---- the independent rule set --------------------------------------------------------------------------------------

SUFFIX = {"main_sse": "main", "main_szse": "main", "chinext": "chinext", "star": "star", "bse": "bse"}
VENUE = {"sse": "XSHG", "szse": "XSHE", "chinext": "XSHE", "star": "XSHG", "bse": "BJSE"}


def marina_scope(board, status, day, date):
    short = SUFFIX.get(board)
    if short is None:
        return "etf_20pct" if board.startswith("etf20") else "etf"
    if status == "normal":
        return "main_board" if short == "main" else short
    if status == "st":
        return f"st_{short}"
    if status == "delisting":
        tail = "" if short == "main" or (short == "chinext" and day == 1) else f"_{short}"
        return f"delisting{'_day1' if day == 1 else ''}{tail}"
    reform = {"main": "2023-04-10", "chinext": "2020-08-24", "star": "2019-07-22"}.get(short, "9999")
    if date >= reform:
        return f"ipo_first5_{short}" if day <= 5 else marina_scope(board, "normal", day, date)
    return f"ipo_day1_{'bse' if short == 'bse' else 'main'}" if day == 1 else marina_scope(board, "normal", day, date)


@pytest.mark.parametrize("row", LIMITS, ids=" ".join)
def test_limit_vectors_agree_with_marina(row):
    marina = pytest.importorskip("marina_rules")
    board, status, day, date, reference, *limits = row
    if board.startswith("etf_t0") and date < "2020":
        assert limits, "funds of this kind have the limit of other funds"
    scope = marina_scope(board, status, int(day), date)
    venue = VENUE[board.rsplit("_", 1)[-1]]
    got = marina.limit_price(float(reference), scope, date, market=venue)
    want = None if limits == ["none"] else (float(limits[0]), float(limits[1]))
    if want is None:
        assert got is None
    else:
        assert got == pytest.approx(want, abs=1e-9)


def test_every_switch_of_marina_is_ours():
    marina = pytest.importorskip("marina_rules")
    names = {
        "stamp_duty_sell": ("stamp_sell", 1e8),
        "transfer_fee_each_side": ("transfer", 1e8),
        "commission_cap": ("commission", 1e8),
        "commission_min_per_order_cny": ("minimum", 100),
    }
    checked = 0
    for record in marina.records():
        if record.rule not in names:
            continue
        what, unit = names[record.rule]
        start = D(record.effective_from)
        for board in ("main_sse", "main_szse", "chinext", "star"):
            first = max(start, D("2019-07-22")) if board == "star" else start
            if record.effective_to and first >= D(record.effective_to):
                continue
            assert CN.at(what, first, board).value[0] == round(record.value * unit), (record.id, board)
            checked += 1
            if record.effective_to and board != "star":
                last = D(record.effective_to) - dt.timedelta(1)
                assert CN.at(what, last, board).value[0] == round(record.value * unit), (record.id, board)
    assert checked >= 20


# ---- arithmetic ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 500_000), st.sampled_from([300, 500, 1000, 2000, 3000, 4400, 3600]))
def test_integer_half_up_is_decimal_half_up(ticks, bps):
    cent = Decimal("0.01")
    price, share = Decimal(ticks) * cent, Decimal(bps) / 10_000
    up = (price * (1 + share)).quantize(cent, ROUND_HALF_UP)
    down = (price * (1 - share)).quantize(cent, ROUND_HALF_UP)
    assert limit_ticks(ticks, bps, bps, 0) == (int(up / cent), int(down / cent))
    top, low = limit_ticks(ticks, bps, bps, 1)
    assert top >= ticks + 1
    assert 1 <= low <= max(ticks - 1, 1)


def test_all_prices_to_a_hundred_yuan_are_exact():
    wrong = 0
    for ticks in range(1, 10_001):
        exact = (Decimal(ticks) * 11 / 10).quantize(Decimal(1), ROUND_HALF_UP)
        assert limit_prices(CN, ticks / 100, D("2010-01-04"), "main_sse")[0] == float(exact / 100)
        wrong += round(ticks / 100 * 1.1, 2) != float(exact / 100)
    assert wrong > 50  # what Python's round would have got wrong: the test can tell the two apart


# ---- the file form -------------------------------------------------------------------------------------------------

GOOD = """
[sources]
a = "the published text"
[[rule]]
what = "tick"
boards = ["us"]
value = 0.01
start = 2006-01-31
known = "start"
source = "a"
check = "source"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('check = "source"', 'check = "source"\nfoo = 1', "x.toml rule 1: unknown key 'foo'; known are "),
        ('check = "source"', 'check = "me"', "x.toml rule 1: check must be 'marina' or 'source'; "),
        ('source = "a"', 'source = "b"', "x.toml rule 1: source 'b' is not listed under [sources]; "),
        ('source = "a"\n', "", "x.toml rule 1: 'source' is missing; "),
        ("[[rule]]", "[[rules]]", "x.toml: unknown key 'rules'; a rule file has [sources] and [[rule]]"),
        ('"us"', '"nasdaq"', "x.toml rule 1: board 'nasdaq' is none of us; "),
        ('"tick"', '"ticks"', "x.toml rule 1: what = 'ticks' is none of limit, tick, "),
        ("0.01", "0.00001", "x.toml rule 1: value 0.00001 of tick is no whole multiple of 1/10000; "),
        ("0.01", "-0.01", "x.toml rule 1: value -0.01 of tick is no whole multiple of 1/10000; "),
        ("0.01", "true", "x.toml rule 1: value True of tick is no whole multiple of 1/10000; "),
        ("2006-01-31", '"soon"', "x.toml rule 1: start = soon is no date; "),
        ('known = "start"', 'known = "start"\nend = 2006-01-01', "x.toml rule 1: end 2006-01-01 does not lie after "),
        (
            'known = "start"',
            'known = "start"\nstatus = "st"',
            "x.toml rule 1: only a limit depends on status or days; ",
        ),
        (
            'what = "tick"\nboards = ["us"]\nvalue = 0.01',
            'what = "limit"\nboards = ["us"]\nvalue = "none"\nstatus = "ipo"\ndays = [2, 5]',
            "x.toml rule 1: days must be [1, b] with b >= 1; ",
        ),
        (
            'what = "tick"\nboards = ["us"]\nvalue = 0.01',
            'what = "limit"\nboards = ["us"]\nvalue = "none"\nstatus = "ipo"',
            "x.toml rule 1: a rule for status 'ipo' needs days; ",
        ),
        ("what =", "what", "x.toml: not readable as TOML ("),
    ],
)
def test_a_bad_rule_file_names_its_rule(old, new, message):
    assert parse("us", {"x.toml": GOOD}).at("tick", D("2010-01-04"), "us").value == (100,)
    assert old in GOOD
    with pytest.raises(DataError) as e:
        parse("us", {"x.toml": GOOD.replace(old, new)})
    assert str(e.value).startswith(message)


def test_two_rules_for_one_day_are_refused():
    twice = GOOD + GOOD.split('published text"')[1]
    with pytest.raises(DataError, match=r"^rules 'us': two records of tick for us \(normal\) hold on 2006-01-31; "):
        parse("us", {"x.toml": twice})


def test_every_shipped_record_names_its_source():
    for book in (CN, US):
        for r in book.records:
            assert len(r.source) > 10
            assert r.check in ("marina", "source")
            assert r.known_at <= r.start
            assert r.board in BOARDS[book.market]


# ---- messages ------------------------------------------------------------------------------------------------------


def test_a_date_or_board_without_a_rule_raises():
    with pytest.raises(DataError) as e:
        CN.at("limit", D("2019-07-19"), "star")
    assert str(e.value) == (
        "rules 'cn': no limit for board star (normal) on 2019-07-19; on record: 2019-07-22 on. Cut the bars to dates "
        "with rules, or add the record with its source (docs/rules.md)"
    )
    with pytest.raises(DataError, match=r"on record: 2012-06-01 to 2012-08-31, 2015-01-01 on\. Cut"):
        CN.at("handling", D("2013-01-04"), "main_sse")
    with pytest.raises(DataError, match=r"on record: 2012-12-17 to 2020-08-23, 2020-12-31 on\. Cut"):
        CN.at("limit", D("2020-09-01"), "chinext", "delisting", 1)
    with pytest.raises(DataError, match=r"no taf for board us .* on 2027-01-04; on record: 2004-11-01 to 2026-12-31"):
        fees(US, "sell", 1, 10.0, D("2027-01-04"), "us")
    with pytest.raises(DataError, match=r"no limit for board etf_sse \(st\) on 2010-01-04; on record: nothing\. Cut"):
        CN.at("limit", D("2010-01-04"), "etf_sse", "st")
    with pytest.raises(ConfigError, match="board 'nyse' is unknown; one of us"):
        US.at("tick", D("2010-01-04"), "nyse")
    with pytest.raises(ConfigError, match="no market 'jp' on record; one of cn, us"):
        load("jp")
    with pytest.raises(ConfigError, match="31 bps are above the largest commission of 30 bps"):
        fees(CN, "buy", 100, 10.0, D("2010-01-04"), "main_sse", fee_bps=31)


def make(symbols, start="2020-08-03", T=40, first=None):
    """A panel of T weekdays on which name n is listed from row first[n] on."""
    days = np.arange(np.datetime64(start), np.datetime64(start) + 2 * T)
    days = days[np.is_busday(days)][:T]
    listed = np.ones((T, len(symbols)), bool)
    for n, row in enumerate(first or ()):
        listed[:row, n] = False
    return Panel(
        times=days.astype("datetime64[ns]").astype(np.int64), sessions=days, symbols=tuple(symbols),
        fields={"close": np.where(listed, 10.0, np.nan)}, listed=listed, suspended=~listed & False,
        missing=~listed & False, universe=listed.copy(),
    )  # fmt: skip


def test_lay_asks_for_what_the_bars_do_not_say():
    panel = make(["SH600000"])
    with pytest.raises(ConfigError) as e:
        lay("cn", panel)
    assert str(e.value) == (
        "rules 'cn': the bars do not say which names are ST (5 % limits); give a status table, or write "
        '[exchange.assume] st = "never"'
    )
    with pytest.raises(ConfigError, match=r'assume.st = "sometimes" is unknown; only "never"'):
        lay("cn", panel, assume_st="sometimes")
    with pytest.raises(ConfigError, match="handling 'both' is unknown; inside or beside the commission"):
        lay("cn", panel, assume_st="never", handling="both")
    with pytest.raises(
        DataError, match=r"^SH688001: rules 'cn': no limit for board star .* on 2019-07-01; on record: 2019"
    ):
        lay("cn", make(["SH600000", "SH688001"], "2019-07-01"), assume_st="never")
    lay("cn", make(["SH600000", "SH688001"], "2019-07-01", first=[0, 15]), assume_st="never")
    table = Status.read(pl.DataFrame({"symbol": ["A"], "start": ["2020-01-01"], "end": [""], "status": ["st"]}))
    with pytest.raises(ConfigError, match=r"^rules 'us': a status table has no meaning there; leave it out$"):
        lay("us", make(["A"]), table)
    with pytest.raises(DataError, match="no handling for board etf_sse"):
        lay("cn", make(["510300.SH"]), assume_st="never", handling="beside")


# ---- rulings on a panel --------------------------------------------------------------------------------------------


def slow(panel, rules, boards, spans, listings, handling="inside"):
    """Terms of every listed cell, one by one: the obvious twin of ``lay``."""
    out = {}
    days = panel.sessions.astype(object)
    for n, board in enumerate(boards):
        rows = np.flatnonzero(panel.listed[:, n])
        opened = listings.get(n, days[rows[0]] if rows[0] > 0 else None)
        for t in rows:
            status, day, listed = "normal", 1, None
            if any(a <= days[t] <= b for m, s, a, b in spans if m == n and s == "st"):
                status = "st"
            if opened is not None:
                number = 1 + (
                    np.busday_count(opened, days[t]) if opened < days[0] else sum(opened <= d < days[t] for d in days)
                )
                if rules.at("limit", days[t], board, "ipo", number, opened).status == "ipo":
                    status, day, listed = "ipo", number, opened
            for m, s, a, b in spans:
                if m == n and s == "delisting" and a <= days[t] <= b:
                    status, day, listed = "delisting", 1 + sum(a <= d < days[t] for d in days), None
            limit = rules.at("limit", days[t], board, status, day, listed)
            out[t, n] = mod._row(rules, days[t], board, limit, handling, set())
    return out


def check(panel, status, boards, spans, listings, **options):
    rulings = lay("cn", panel, status, **options)
    for (t, n), row in slow(panel, CN, boards, spans, listings).items():
        assert rulings.terms[rulings.kind[t, n]].tolist() == row, (panel.sessions[t], panel.symbols[n])
    return rulings


def test_lay_is_its_slow_twin():
    symbols = [
        "SH600000",
        "SZ000001",
        "SZ300001",
        "SH688001",
        "SZ300999",
        "SH600001",
        "SZ000002",
        "BJ430047",
        "510300.SH",
    ]
    boards = ["main_sse", "main_szse", "chinext", "star", "chinext", "main_sse", "main_szse", "bse", "etf_sse"]
    first = [0, 0, 0, 4, 14, 12, 0, 0, 0]
    for start in ("2020-08-03", "2023-03-13"):
        panel = make(symbols, start, first=first)
        if start < "2021":
            panel = panel.assets(np.array([0, 1, 2, 3, 4, 5, 6, 8]))
        keep = [symbols.index(s) for s in panel.symbols]
        here = [boards[i] for i in keep]
        rulings = check(panel, None, here, [], {}, assume_st="never")
        assert rulings.kind.dtype == np.uint8
        assert rulings.terms.shape[1] == col.COLUMNS
        assert rulings.shorts is False
        assert rulings.falls is False
        late = list(panel.symbols).index("SZ300999")
        ups = rulings.terms[rulings.kind[:, late], col.UP]
        assert (ups[14:].tolist() == [-1.0] + 25 * [2000.0]) if start < "2021" else (ups[14:19] == -1).all()


def test_lay_reads_the_status_table(tmp_path):
    symbols = ["SH600000", "SZ000001", "SZ300001", "SH600002"]
    panel = make(symbols, "2020-12-14", first=[0, 0, 0, 3])
    days = panel.sessions.astype(object)
    path = tmp_path / "status.csv"
    path.write_text(
        "symbol,start,end,status,board,listing_date\n"
        f"SH600000,{days[3]},{days[20]},st,,\n"
        f"SZ000001,{days[5]},,delisting,,\n"
        f"SZ300001,{days[13]},,delisting,,\n"
        "SH600002,2020-12-01,,normal,main_szse,2020-12-15\n"
    )
    spans = [(0, "st", days[3], days[20]), (1, "delisting", days[5], days[-1]), (2, "delisting", days[13], days[-1])]
    boards = ["main_sse", "main_szse", "chinext", "main_szse"]
    rulings = check(panel, Status.read(path), boards, spans, {3: days[1]})
    ups = rulings.terms[rulings.kind, col.UP]
    assert ups[[2, 3, 20, 21], 0].tolist() == [1000, 500, 500, 1000]
    assert ups[[4, 5, 6], 1].tolist() == [1000, 1000, 1000]  # before 2020-12-31 the first session had a limit
    assert days[13] == D("2020-12-31")
    assert ups[[12, 13, 14], 2].tolist() == [2000, -1, 2000]
    assert (ups[3:, 3] == 1000).all()  # listed on row 1, first bar on row 3: no longer a first session
    text = " ".join(rulings.assumptions)
    assert "(1 from the status table)" in text
    assert "Names and dates outside the status table are neither ST nor in a delisting period." in rulings.assumptions
    path.write_text("symbol,start,end,status,listing_date\nSH600002,2020-12-01,,normal,2021-01-04\n")
    with pytest.raises(
        DataError, match=r"^SH600002: bars from 2020-12-17 on, but the status table lists it on 2021-01-04;"
    ):
        lay("cn", panel, Status.read(path))


def test_a_listing_just_before_the_bars_counts_weekdays():
    panel = make(["SZ300999", "SH600000"], "2020-12-14")
    table = pl.DataFrame({
        "symbol": ["SZ300999", "SH600000"], "start": ["2020-12-01"] * 2, "end": [""] * 2, "status": ["normal"] * 2,
        "listing_date": ["2020-12-10", "2020-12-03"],
    })  # fmt: skip
    rulings = lay("cn", panel, Status.read(table))
    ups = rulings.terms[rulings.kind, col.UP]
    assert ups[:5, 0].tolist() == [-1, -1, -1, 2000, 2000]  # Monday is the third session after Thursday's listing
    assert (ups[:, 1] == 1000).all()
    assert "1 names have the limits of first sessions" in rulings.assumptions[2]


def test_a_name_needs_no_rule_after_its_last_bar():
    panel = make(["SZ300001", "SH600000"], "2020-08-03")
    gone = int(np.searchsorted(panel.sessions, np.datetime64("2020-08-24")))
    table = pl.DataFrame({"symbol": ["SZ300001"], "start": ["2020-08-10"], "end": [""], "status": ["delisting"]})
    with pytest.raises(
        DataError, match=r"^SZ300001: rules 'cn': no limit for board chinext \(delisting\) on 2020-08-24; "
    ):
        lay("cn", panel, Status.read(table))
    listed = panel.listed.copy()
    listed[gone:, 0] = False
    ended = panel.replace(listed=listed)
    rulings = lay("cn", ended, Status.read(table))
    assert (rulings.terms[rulings.kind[:gone, 0], col.UP] == 1000).all()
    listed = listed.copy()
    listed[gone, 0] = True
    with pytest.raises(DataError, match=r"on 2020-08-24; "):
        lay("cn", panel.replace(listed=listed), Status.read(table))


def test_intraday_bars_share_the_rules_of_their_session():
    daily = make(["SH600000", "SZ300999"], "2020-08-20", T=10, first=[0, 3])
    listed = np.repeat(daily.listed, 4, axis=0)
    hourly = Panel(
        times=np.arange(40), sessions=np.repeat(daily.sessions, 4), symbols=daily.symbols,
        fields={"close": np.ones((40, 2))}, listed=listed, suspended=~listed & False, missing=~listed & False,
        universe=listed.copy(),
    )  # fmt: skip
    a, b = lay("cn", daily, assume_st="never"), lay("cn", hourly, assume_st="never")
    assert np.array_equal(np.repeat(a.terms[a.kind], 4, axis=0)[listed], b.terms[b.kind][listed])
    assert a.digest == b.digest


def test_us_rulings_hold_no_limits_and_allow_shorts():
    rulings = lay("us", make(["AAPL", "BRK.B"], "2024-05-06"))
    rows = rulings.terms[rulings.kind[:, 0]]
    assert rulings.shorts
    assert rulings.falls
    assert rulings.market == "us"
    assert (rows[:, [col.UP, col.DOWN]] == -1).all()
    assert (rows[:, [col.LOT, col.STEP]] == 1).all()
    switch = int(np.searchsorted(make(["A"], "2024-05-06").sessions, np.datetime64("2024-05-22")))
    assert rows[:, col.TAX_SELL].tolist() == switch * [800.0] + (40 - switch) * [2780.0]
    assert (rows[:, col.SHARE_SELL] == 16600).all()
    assert (rows[:, col.SHARE_CAP] == 830).all()
    assert np.isinf(rows[:, col.COMMISSION]).all()


def test_assumptions_are_said():
    rulings = lay("cn", make(["SH600000", "SZ300999"], "2015-07-20", first=[0, 5]), assume_st="never")
    assert rulings.assumptions == (
        "The board of a name follows from the prefix of its code: chinext 1, main_sse 1.",
        'No name is ever ST or in a delisting period (assume.st = "never").',
        "Names with bars on 2015-07-20 are taken as listed long before; 1 names have the limits of first sessions "
        "from a later first bar or listing date.",
        "Handling fees and levies are inside the commission.",
        "Shanghai's transfer fees before 2015-08-01 were charged on par value, taken as 1 yuan a share.",
        "Limits on listing days were shares of the issue price, which bars do not hold: none is applied then.",
    )


def test_rules_published_later_are_not_known():
    panel = make(["SZ300001"], "2020-08-03")
    now, then = (
        lay("cn", panel, assume_st="never"),
        lay("cn", panel, assume_st="never", asof=np.datetime64("2020-06-11")),
    )
    assert now.terms[now.kind[-1, 0], col.UP] == 2000
    assert then.terms[then.kind[-1, 0], col.UP] == 1000  # what the reform ended goes on
    assert now.digest != then.digest
    day = lay("cn", panel, assume_st="never", asof=np.datetime64("2020-06-12"))  # the day of publication
    assert day.terms[day.kind[:, 0], col.UP].tolist() == 15 * [1000.0] + 25 * [2000.0]
    assert "Only rules published by 2020-06-11 are applied." in then.assumptions
    with pytest.raises(
        DataError, match=r"no limit for board star \(normal\) on 2020-08-03; on record known by 2018-01-01: not"
    ):
        lay("cn", make(["SH688001"]), assume_st="never", asof=np.datetime64("2018-01-01"))


CHANGES = [(r.what, r.board, r.status, r.start) for r in CN.records]


@given(st.integers(0, len(CHANGES) - 1))
def test_the_digest_follows_the_records_in_force(k):
    panel = make(["SH600000", "SZ300001"], "2020-08-03")
    used = {"main_sse", "chinext"}
    record = CN.records[k]
    later = [r.start for r in CN.records if r.key == record.key and r.start > record.start]
    end = min([*later, record.end or dt.date.max])
    days = panel.sessions.astype(object)
    in_force = (
        record.board in used and record.status == "normal" and record.what not in ("handling", "levy")
        and record.start <= days[-1] and end > days[0]
    )  # fmt: skip
    other = dataclasses.replace(record, value=tuple(v + 1 if isinstance(v, int) else v for v in record.value))
    changed = mod.Rules("cn", tuple(other if r is record else r for r in CN.records))
    before = lay("cn", panel, assume_st="never").digest
    keep = mod.load
    try:
        mod.load = lambda market: changed
        after = lay("cn", panel, assume_st="never").digest
    finally:
        mod.load = keep
    assert (after != before) == in_force, CHANGES[k]
    assert len(before) == 64


def test_the_data_folder_is_complete():
    assert [p.name for p in sorted(FOLDER.glob("*.toml"))] == [
        "cn_fees.toml",
        "cn_limits.toml",
        "cn_orders.toml",
        "us.toml",
    ]
    for book in (CN, US):
        chains = {}
        for r in sorted(book.records, key=lambda r: r.start):
            chains.setdefault(r.key, []).append(r)
        for chain in chains.values():  # no gap that is not meant: an `end` before the next start is written down
            for a, b in pairwise(chain):
                assert a.end is None or a.end < b.start


# ---- the simulator ---------------------------------------------------------------------------------------------------


def moving(symbols, start, T, seed):
    """Daily bars whose closes often stand at or beyond a limit of 5, 10 or 20 %."""
    rng = np.random.default_rng(seed)
    quiet = make(symbols, start, T)
    jumps = rng.choice([0.0, 0.05, -0.05, 0.1, -0.1, 0.2, -0.2], (T, len(symbols)), p=[0.64, *6 * [0.06]])
    close = np.empty((T, len(symbols)))
    close[0] = np.round(20 * rng.random(len(symbols)) + 5, 2)
    for t in range(1, T):
        steps = np.where(jumps[t] == 0, rng.normal(0, 0.02, len(symbols)), jumps[t])
        close[t] = np.maximum(np.floor(close[t - 1] * (1 + steps) * 100 + 0.5) / 100, 1.0)
    fields = {"open": close, "high": close + 0.05, "low": close - 0.05, "close": close, "volume": close * 0 + 1e7}
    return quiet.replace(fields=fields)


@pytest.mark.parametrize("handling", ["inside", "beside"])
@pytest.mark.parametrize("market", ["cn", "us"])
def test_the_simulator_charges_and_refuses_what_the_rules_say(market, handling):
    from hitherto import Weights, simulate
    from hitherto.exchange.account import REASONS
    from hitherto.exchange.terms import Costs

    symbols, boards = ["SH600000", "SZ000001", "SZ300001", "SH688001"], ["main_sse", "main_szse", "chinext", "star"]
    book = CN
    if market == "us":
        symbols, boards, book = ["AAPL", "MSFT"], ["us", "us"], US
    panel = moving(symbols, "2023-06-01", 150, seed=0)
    rulings = lay(market, panel, assume_st="never", handling=handling)
    rng = np.random.default_rng(1)
    weights = rng.random(panel.shape)
    weights /= 1.05 * weights.sum(1, keepdims=True)
    done = simulate(
        panel, Weights("random", weights, np.ones(150, bool)), rules=rulings, costs=Costs(fee_bps=2.5), capital=3e6
    )
    days, close, fills = panel.sessions.astype(object), panel.fields["close"], done.fills
    assert done.rules == rulings.label
    filled = refused = 0
    for k in range(len(fills.t)):
        t, n, reason = fills.t[k], fills.n[k], REASONS[fills.reason[k]]
        side = "buy" if fills.ordered[k] > 0 else "sell"
        limits = limit_prices(book, close[t - 1, n], days[t], boards[n])
        if limits is not None and reason in ("filled", "limit up", "limit down"):
            beyond = close[t, n] >= limits[0] - 1e-9 if side == "buy" else close[t, n] <= limits[1] + 1e-9
            assert beyond == (reason != "filled"), (days[t], symbols[n], reason)
        refused += reason in ("limit up", "limit down")
        if fills.shares[k]:
            parts = [round(100 * getattr(fills, name)[k]) for name in ("commission", "tax", "transfer", "other")]
            shares, price = int(abs(fills.shares[k])), fills.price[k]
            wanted = fees(book, side, shares, price, days[t], boards[n], fee_bps=2.5, handling=handling)
            assert parts == list(wanted), (days[t], symbols[n], side, shares, price)
            filled += 1
    assert filled > 200
    assert (refused > 20) == (market == "cn")
