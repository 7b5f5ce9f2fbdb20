"""A made-up report for tests: every section filled, from a seed."""

import dataclasses

import numpy as np

from hitherto.evaluate.attribution import (
    PARTS,
    Attribution,
    BreakevenCost,
    BreakevenDelay,
    DelayRow,
    link,
    link_by,
)
from hitherto.evaluate.inference import Interval
from hitherto.evaluate.periods import (
    Basis,
    Exposure,
    ExposureRow,
    RegimeRow,
    Regimes,
    falls,
    heatmap,
    rolling_sharpe,
)
from hitherto.evaluate.signals import (
    Autocorrelation,
    AutocorrelationRow,
    Decay,
    ICRow,
    QuantileRow,
    Quantiles,
)
from hitherto.report.content import (
    Audit,
    AuditRow,
    Costs,
    DataFinding,
    Equity,
    Estimate,
    Example,
    Gates,
    Hindsight,
    HindsightList,
    HindsightRow,
    IcSeries,
    KeyFigure,
    Ladder,
    LadderRow,
    NullBand,
    ReportContent,
    Rules,
    Verdict,
    VerdictRow,
    WeightsHistory,
)
from hitherto.report.explained import Explanation, Search
from hitherto.report.robust import (
    Capacity,
    CapacityRow,
    OrderRow,
    Orders,
    PeriodRow,
    Periods,
    Stress,
    StressRow,
)

BASIS = Basis(252.0, 0.0, "compound", "net of fees and slippage")
EVIL = "<script>alert(1)</script>"
NAMES = ("AAPL", "BAC", "GE", "MSFT", "平安银行", EVIL, "UNH", "XOM", "600519", "WMT")
BEST = (80.89, 138.93, 149.07, 217.31, 183.21, 72.94, 108.51, 126.16, 138.08, 106.29, 116.43, 156.0)
WORST = (47.95, 14.25, 18.42, 61.73, 64.08, 47.65, 51.13, 41.92, 48.26, 40.94, 61.48, 45.36)


def make_audit(**changes) -> Audit:
    """Seven probes, all quiet, the planted leak caught."""
    audit = Audit(
        rows=(
            AuditRow(
                "Right truncation",
                "Features and forecasts recomputed with every later row removed, 12 cuts",
                "ok",
                "largest change 0.0 over 12 cuts x 20 assets",
            ),
            AuditRow(
                "Future rewrite",
                "Every price after the cut replaced by noise, 12 cuts",
                "ok",
                "largest change 0.0; the net saw nothing of it",
            ),
            AuditRow(
                "Batch neighbours",
                "One asset forecast alone and among all others",
                "ok",
                "largest change 3e-8, float32 noise floor 6e-8",
            ),
            AuditRow(
                "Interval algebra",
                "Label and window intervals of train, valid and test, 3 folds",
                "ok",
                "0 of 61,204 intervals intersect",
            ),
            AuditRow(
                "Refit",
                "Trained again with the test rows rewritten (first fold, 20 assets, 1 epoch)",
                "ok",
                "weights equal bit for bit",
            ),
            AuditRow(
                "Planted canary",
                "Tomorrow's return mixed into one feature at 5 % strength",
                "caught",
                "by the future rewrite",
            ),
            AuditRow(
                "Universe survivorship",
                "Membership by date against the list of delistings",
                "not assessed",
                "the sample has no delisting dates",
            ),
        ),
        smallest="a feature that holds 5 % of tomorrow's return, planted in the first fold",
        canary_caught=True,
        not_assessed=(
            "choice of the 20 surviving names",
            "vendor restatement of past closes",
            "human knowledge of the period",
        ),
    )
    return dataclasses.replace(audit, **changes)


def make_null(market, strategy, rng) -> NullBand:
    """200 random walks about the market, and how many end at or above the strategy."""
    walks = np.cumprod(1 + market + rng.normal(-0.0001, 0.004, (200, len(market))), axis=1)
    low, mid, high = np.quantile(walks, [0.025, 0.5, 0.975], axis=0)
    return NullBand(low, mid, high, int((walks[:, -1] >= strategy[-1]).sum()), 200)


def make_stress() -> Stress:
    """Twelve books: four multiples of the costs, three delays; the first delay breaks even at 3.4 times the costs."""
    rows = []
    for delay, start, slope in ((0, 0.089, -0.026), (1, 0.071, -0.0255), (2, 0.052, -0.025)):
        for times in (0.0, 1.0, 2.0, 5.0):
            net = start + slope * times
            gap = net - 0.063
            away = Estimate(gap, gap - 0.01 * delay - 0.001, gap + 0.01 * delay + 0.001)
            rows.append(StressRow(times, delay, net, Estimate(10 * net, 10 * net - 0.85, 10 * net + 0.85), -0.31, away))
    return Stress(tuple(rows), breakeven=0.089 / 0.026)


def make_robust() -> dict:
    """The other parts of the robustness section, and the rules in force."""
    capacity = tuple(
        CapacityRow(1e6 * 10**k, net, cut)
        for k, (net, cut) in enumerate(((0.062, 0.0), (0.057, 0.004), (0.031, 0.11), (-0.024, 0.52)))
    )
    orders = (
        OrderRow("filled", 4102, 4088, 1.9e9, 1.9e9),
        OrderRow("filled in part", 96, 3, 6.1e7, 1.2e6, 2.4e7, 4e5),
        OrderRow("limit up", 71, 0, 4.4e7, 0.0, 4.4e7, 0.0),
        OrderRow("limit down", 0, 38, 0.0, 2.1e7, 0.0, 2.1e7),
        OrderRow("suspended", 12, 17, 7e6, 1.1e7, 7e6, 1.1e7),
        OrderRow("below one lot", 205, 0, 3e6, 0.0, 3e6, 0.0),
    )
    years = tuple(
        PeriodRow(
            2018 + i, 250 + i, net, excess, Estimate(sharpe, sharpe - 1.9, sharpe + 1.9), -0.1 - 0.05 * i, 41.0, 0.04
        )
        for i, (net, excess, sharpe) in enumerate(((-0.12, -0.031, -0.6), (0.21, 0.052, 1.1), (0.16, 0.011, 0.7)))
    )
    rules = Rules(
        "cn", "5d41402abc4b2a76b9719d911017c592ae2f5d41402abc4b2a76b9719d911017",
        ("No name is ever ST (assume.st = never).", "The board follows from the code's prefix."), 14, 1_203_377,
    )  # fmt: skip
    return {
        "stress": make_stress(),
        "capacity": Capacity(capacity, half=1.02e8, base=0.063, cap=0.1, impact=1.0),
        "orders": Orders(orders, 41.2, 0.0402),
        "periods": Periods(years),
        "rules": rules,
    }


def about(value: float, half: float) -> Interval:
    """An interval of the given half width."""
    return Interval(value, value - half, value + half)


def make_attribution(returns, rng, parts=("market", "selection", "trading", "cost", "rest")) -> Attribution:
    """Parts drawn at random that add up to the returns; the market takes what is left."""
    values = rng.normal(0, 0.002, (len(returns), len(parts)))
    values[:, parts.index("cost")] = -0.0002
    values[:, parts.index("rest")] = 0.0
    values[:, 0] += returns - values.sum(axis=1)
    each = zip(parts, values.mean(axis=0), strict=True)
    means = {p: about(252 * m, 0.08 if p == "selection" else 0.001) for p, m in each}
    means["rest"] = Interval(0.0, 0.0, 0.0)
    total = link("all", values, returns, parts)
    return Attribution(parts, values, returns, np.ones(len(returns)), means, total, dict.fromkeys(parts, ""), BASIS)


def make_explained(dates, wealth, rng, **changes) -> Explanation:
    """Everything beyond the verdict of a curve (K,), its parts made up."""
    returns = wealth[1:] / wealth[:-1] - 1
    a, K = make_attribution(returns, rng), len(dates)
    states = (("volatility", "calm", 0.21, 0.2), ("volatility", "middle", 0.04, 0.2),
              ("volatility", "turbulent", -0.11, 0.3), ("trend", "falling", 0.3, 0.2), ("trend", "rising", 0.02, 0.1),
              ("trend", "not known", 0.1, 0.4))  # fmt: skip
    rows = tuple(
        RegimeRow(kind, name, K // 3, 0.333, mean / 2, mean / 3, about(mean, half), about(3 * mean, 1.0), -0.2)
        for kind, name, mean, half in states
    )
    regimes = Regimes(rows, np.zeros(K - 1, int), np.zeros(K - 1, int), 60, 120, 250, BASIS)
    each = tuple(ExposureRow(y, 250, 0.99, 0.97, 5.0, 41.0, 0.04) for y in (2018, 2019, 0))
    exposure = Exposure(dates, np.full(K, 0.99), np.full(K, 0.97), np.full(K, 5), np.full(K, 0.16), each, BASIS)
    costs = (
        BreakevenCost("nothing", about(0.00165, 0.002), 0.0005, 3.3, 2.6, "", BASIS),
        BreakevenCost("equal weight", about(-0.0002, 0.001), 0.0005, -0.4, None, "", BASIS),
    )
    late = tuple(DelayRow(k, 0.1 - 0.02 * k, about(0.05 - 0.02 * k, 0.04)) for k in range(6))
    ics = tuple(ICRow(h, about(0.01 * h, 0.02), about(0.012 * h, 0.02), 900) for h in (1, 2, 5))
    lags = tuple(ICRow(h, about(0.01, 0.02), about(0.012 / (1 + h), 0.02), 900) for h in (0, 1, 2))
    fifths = tuple(
        QuantileRow(q, about(0.1 + 0.01 * q, 0.1), about(0.07 + 0.01 * q, 0.1), about(0.01 * q - 0.03, 0.05), 0.6, 4.0)
        for q in range(1, 6)
    )
    ranks = tuple(AutocorrelationRow(lag, about(0.9**lag, 0.02), 900) for lag in (1, 2, 5))
    made = Explanation(
        attribution=a, by_year=link_by(a, dates[1:].astype("datetime64[Y]").astype(str)),
        by_month=link_by(a, dates[1:].astype("datetime64[M]").astype(str)),
        by_regime=(link("volatility: calm", a.values, returns, a.parts),), heatmap=heatmap(returns, dates[1:], BASIS),
        exposure=exposure, regimes=regimes, drawdowns=falls(returns, dates, BASIS),
        rolling=rolling_sharpe(returns, dates[1:], BASIS, min(252, (K - 1) // 3)), costs=costs,
        delay=BreakevenDelay(late, 2.5, "", BASIS), decay=Decay(ics, lags, 1.0, "next_close", BASIS),
        quantiles=Quantiles(fifths, about(0.04, 0.1), about(-0.02, 0.1), np.zeros((K, 5)), 5, 0.0005, 900, 1.0, BASIS),
        autocorrelation=Autocorrelation(ranks, np.full(K, 0.9), BASIS),
        not_assessed={"universe": "the benchmark has no close on 3 of 9 bars; the market is equal weight"},
    )  # fmt: skip
    assert set(a.parts) <= set(PARTS)
    return dataclasses.replace(made, **changes)


def make_report(seed: int = 0, T: int = 1260, language: str = "en", **changes) -> ReportContent:
    """A full report on random numbers; ``changes`` replace whole parts."""
    rng = np.random.default_rng(seed)
    dates = np.datetime64("2018-01-02") + np.arange(T)
    dates = dates[np.is_busday(dates)]
    T = len(dates)
    market = rng.normal(0.0004, 0.011, T)

    def curve(edge, own):
        return np.cumprod(1 + market + edge + rng.normal(0, own, T))

    gross = market + 0.0002 + rng.normal(0, 0.004, T)
    curves = {
        "LSTM top-5": np.cumprod(1 + gross - 0.00016),
        "S&P 500": curve(0, 0.001),
        "Equal weight": curve(0.0001, 0.0008),
        "Buy and hold": curve(0.00005, 0.002),
        "Ridge": curve(0.0001, 0.004),
        "LightGBM": curve(0, 0.004),
    }
    roles = {
        "LSTM top-5": "strategy",
        "S&P 500": "benchmark",
        "Equal weight": "baseline",
        "Buy and hold": "baseline",
        "Ridge": "model",
        "LightGBM": "model",
    }
    daily = rng.normal(0.008, 0.24, T)
    rolling = np.full(T, np.nan)
    window = min(60, T // 2)
    rolling[window - 1 :] = np.convolve(daily, np.ones(window) / window, mode="valid")
    ladder = tuple(
        LadderRow(
            name,
            role,
            Estimate(ic, ic - 0.012, ic + 0.012),
            Estimate(ic + 0.002, ic - 0.01, ic + 0.014),
            ic * 4,
            net,
            Estimate(sharpe, sharpe - 0.85, sharpe + 0.85),
            dd,
            turn,
            cost,
        )
        for name, role, ic, net, sharpe, dd, turn, cost in (
            ("LSTM top-5", "strategy", 0.008, 0.112, 0.62, -0.312, 41.2, 0.0402),
            ("Ridge", "model", 0.011, 0.121, 0.68, -0.301, 38.0, 0.0371),
            ("LightGBM", "model", 0.005, 0.098, 0.55, -0.334, 52.7, 0.0515),
            ("Persistence", "baseline", -0.013, 0.021, 0.14, -0.402, 120.4, 0.1178),
            ("Equal weight", "baseline", np.nan, 0.119, 0.71, -0.318, 0.6, 0.0006),
            ("Buy and hold", "baseline", np.nan, 0.116, 0.66, -0.325, 0.2, 0.0002),
        )
    )
    L, H = 20, 32
    drive = np.cumsum(rng.normal(0, 0.25, (6, L, H)), axis=1)
    squash = 1 / (1 + np.exp(-drive - 0.8))
    gates = {
        "input": squash[0],
        "forget": squash[1],
        "output": squash[2],
        "candidate": np.tanh(drive[3]),
        "cell": drive[4],
        "hidden": np.tanh(drive[5]),
    }
    weights = np.zeros((T // 5, len(NAMES)))
    for row in weights:
        row[rng.choice(len(NAMES), 5, replace=False)] = 0.2
    actual = rng.normal(0, 0.018, T)

    def chain(rates, start, sign):
        wealth, rows = start, []
        for month, rate in enumerate(rates, 1):
            wealth *= 1 + sign * rate / 100
            rows.append(HindsightRow(f"2007-{month:02d}", f"sh{600000 + 37 * month}", sign * rate / 100, wealth))
        return tuple(rows)

    content = ReportContent(
        title="Twenty US stocks, LSTM on closes",
        subtitle=(
            "Walk-forward, three folds, 2018–2022; top five of twenty names, weekly, filled at the next "
            "close, 5 bps a side"
        ),
        created="2026-11-03",
        language=language,
        verdict=Verdict(
            "The LSTM does not beat equal weight after costs: the interval of the difference contains 0.",
            "扣除成本后，LSTM 没有跑赢等权组合：差值的区间包含 0。",
            rows=(
                VerdictRow("Net return above equal weight, per year", -0.007, -0.061, 0.048, "not shown"),
                VerdictRow("Net return above ridge, per year", -0.009, -0.052, 0.036, "not shown"),
                VerdictRow("Sharpe ratio above 0", 0.62, -0.21, 1.44, "not shown", unit="number"),
            ),
            rule=(
                "Paired block bootstrap of daily net returns, blocks of 20 sessions, 2,000 draws, 95 %. "
                "“Beats” means that the whole interval of the difference lies above 0."
            ),
        ),
        flags=(
            "Prices are vendor-adjusted total returns: past levels were restated with splits and "
            "dividends that came later. Only scale-free features are used.",
            "The twenty names were chosen because they survived to 2022; every figure below gains from that choice.",
        ),
        key_figures=(
            KeyFigure(
                "Net excess return over equal weight, per year",
                "−0.7\u00a0%",
                "[−6.1, 4.8\u00a0%]",
                "Mean daily net difference × 252.",
            ),
            KeyFigure("Sharpe ratio, net", "0.62", "[−0.21, 1.44]", "Mean over deviation of daily net returns × √252."),
            KeyFigure(
                "RankIC, 1 day", "0.010", "[−0.002, 0.022]", "Mean rank correlation over the assets of each date."
            ),
            KeyFigure("Deepest drawdown", "−31.2\u00a0%", "", "Largest fall below an earlier high, net."),
            KeyFigure(
                "Capture of the foresight range",
                "50.9\u00a0%",
                "[49.6, 52.2\u00a0%]",
                "0 % = worst possible books, 100 % = best; random books 50.0 %.",
            ),
        ),
        audit=make_audit(),
        equity=Equity(
            dates, curves, roles, null=make_null(market, curves["LSTM top-5"], np.random.default_rng(seed + 1))
        ),
        hindsight=Hindsight(
            dates,
            np.cumprod(1 + np.abs(rng.normal(0, 0.018, T))),
            np.cumprod(1 - np.abs(rng.normal(0, 0.018, T))),
            "best and worst five of twenty names at every rebalance, before costs",
            Estimate(0.509, 0.496, 0.522),
            Estimate(0.5, 0.487, 0.513),
        ),
        ic=IcSeries(dates, daily, rolling, window, Estimate(0.010, -0.002, 0.022), "LSTM"),
        ladder=Ladder(ladder),
        example=Example(
            "AAPL",
            dates,
            actual,
            0.05 * actual + rng.normal(0.0004, 0.002, T),
            "LSTM",
            "1 day",
            gates=Gates(np.datetime64("2021-03-01"), gates),
        ),
        weights=WeightsHistory(dates[::5][: len(weights)], NAMES, weights),
        costs=Costs(
            dates,
            np.cumprod(1 + gross),
            curves["LSTM top-5"],
            0.066,
            0.026,
            "annual excess return over equal weight",
            (2018, 2019, 2020, 2021),
            (0.012, 0.013, 0.014, 0.012),
            (0.026, 0.028, 0.031, 0.027),
        ),
        hindsight_list=HindsightList(chain(BEST, 1e4, 1), chain(WORST, 2e8, -1), 1e4, 2e8),
        settings='[data]\nsource = "sample:us20"\nadjustment = "restated_total_return"\n'
        '\n[model]\nkind = "lstm"\nhidden = 32\nlookback = 20\n',
        facts={
            "Software": {"hitherto": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "numpy": "2.3.4"},
            "Run": {
                "seed": 7,
                "threads": 2,
                "data digest": "sha256:9f2c41d0e77a",
                "training": "31.4 s",
                "audit": "12.0 s",
            },
        },
        findings=(
            DataFinding(
                "rounded",
                "all symbols, 1990–1996",
                "Prices are rounded to 3 decimals; early returns are quantised.",
                20,
            ),
        ),
        data_card=(
            "# Sample\n\nTwenty US stocks, daily closes.\n\n- source: a public wheel\n- licence: "
            "BSD-3\n\nChosen because they survived."
        ),
        assumptions=(
            "Fractional shares.",
            "Orders decided at a close are filled at the next close.",
            "No market impact.",
        ),
        explained=make_explained(dates, curves["LSTM top-5"], np.random.default_rng(seed + 2)),
        search=Search(7, 0.62, 0.44, 0.71),
        basis=BASIS,
        **make_robust(),
    )
    return dataclasses.replace(content, **changes)
