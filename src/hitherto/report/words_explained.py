"""Fixed phrases of the explanation: attribution, when it worked, the signal, what would have to be true."""

from __future__ import annotations

from hitherto.report.words_study import STUDY

EXPLAINED: dict[str, tuple[str, str]] = {
    "s_source": ("Where the return came from", "收益从哪里来"),
    "s_held": ("What it held and paid", "持仓与成本"),
    "s_signal": ("The signal", "信号"),
    "s_when": ("When it worked", "何时有效"),
    "s_firm": ("What would have to be true", "要成立，需要什么"),
    # what a figure rests on
    "b_periods": ("{n} bars a year", "每年 {n} 根 K 线"),
    "b_rf": ("risk-free rate {rf} a year", "无风险利率每年 {rf}"),
    "b_compound": ("compounded", "复利"),
    "b_simple_mean": ("arithmetic mean", "算术平均"),
    "b_linked_in_logs": ("linked in logs", "按对数连结"),
    "b_none": ("nothing compounded", "不复利"),
    "b_figures": ("arithmetic means, drawdown compounded", "算术平均，回撤按复利"),
    "b_side": ("gross, and net of {bps} bps a side", "扣除前，以及扣除单边 {bps} 个基点后"),
    "b_net of fees and slippage": ("net of fees and slippage", "扣除费用与滑点"),
    "b_net of fees and slippage, which are a part of their own": (
        "net of fees and slippage, which are a part of their own", "扣除费用与滑点，二者单列一项"),
    "b_before fees and slippage": ("before fees and slippage", "未扣费用与滑点"),
    "b_before costs": ("before costs", "扣除成本前"),
    "b_before and after fees and slippage": ("before and after fees and slippage", "扣除费用与滑点前后"),
    "b_at each multiple of the costs": ("at each multiple of the costs", "各成本倍数下"),
    "not_assessed": ("{what}: not assessed, {why}", "{what}：未评估，{why}"),
    # how much was searched
    "n_search": (
        "{n} trials have read this test data: the best of as many without any skill is expected to show a Sharpe ratio "
        "of {luck} a year; this one shows {mine}.",
        "已有 {n} 次试验读过这段测试数据：同样多次、毫无能力的试验，其最好一次的预期年化夏普为 {luck}；"
        "本策略为 {mine}。",
    ),
    "n_search_bare": (
        "{n} trials have read this test data; the returns leave no deflated Sharpe ratio.",
        "已有 {n} 次试验读过这段测试数据；收益序列给不出折减后的夏普比率。",
    ),
    "n_only": (
        "This is the only trial on this test data that the ledger knows of; its Sharpe ratio is {mine} a year.",
        "台账中读过这段测试数据的只有这一次试验；其年化夏普为 {mine}。",
    ),
    "n_only_bare": (
        "This is the only trial on this test data that the ledger knows of.",
        "台账中读过这段测试数据的只有这一次试验。",
    ),
    "n_alone": (
        "With nothing searched, {deflated} is the probability that it is not luck that it lies above 0 (probabilistic "
        "Sharpe ratio; {enough} or more would tell).",
        "未经搜索，其高于 0 并非运气的概率为 {deflated}（概率夏普比率；达到 {enough} 才算）。",
    ),
    "n_within": (
        "Deflated Sharpe ratio {deflated}: not distinguishable from the luck of the search (from {enough} on it is).",
        "折减后的夏普比率为 {deflated}：与搜索的运气无法区分（达到 {enough} 才算）。",
    ),
    "n_beyond": (
        "Deflated Sharpe ratio {deflated}: more than the luck of the search explains ({enough} or more).",
        "折减后的夏普比率为 {deflated}：超出搜索的运气所能解释的范围（{enough} 以上）。",
    ),
    # names of the parts, where one was not assessed
    "p_attribution": ("Attribution of the return", "收益归因"),
    "p_exposure": ("Exposure and turnover", "敞口与换手"),
    "p_heatmap": ("Returns by month", "月度收益"),
    "p_rolling": ("Rolling Sharpe ratio", "滚动夏普比率"),
    "p_regimes": ("Market regimes", "市场状态"),
    "p_breakeven": ("Break-even cost", "盈亏平衡成本"),
    "p_delay": ("Break-even delay", "盈亏平衡延迟"),
    "p_decay": ("Decay of the signal", "信号衰减"),
    "p_quantiles": ("Returns by quantile", "分位数收益"),
    "p_autocorrelation": ("Autocorrelation of the ranks", "排名自相关"),
    # attribution
    "part_market": ("market", "市场"),
    "part_universe": ("universe", "股票池"),
    "part_size": ("size", "规模"),
    "part_sector": ("sector", "行业"),
    "part_selection": ("selection", "选股"),
    "part_trading": ("trading", "成交"),
    "part_cost": ("cost", "成本"),
    "part_rest": ("rest", "其余"),
    "part_net": ("net return", "净收益"),
    "note_market": ("net exposure × the market's return of the bar", "净敞口 × 当根市场收益"),
    "note_universe": (
        "net exposure × (equal weight of the universe less the benchmark)", "净敞口 ×（股票池等权收益 − 基准）"),
    "note_size": (
        "weight in each third by size × (that third less the universe)", "各规模三分组权重 ×（该组收益 − 股票池）"),
    "note_sector": (
        "weight in each sector × what its names earned above the universe, size taken off",
        "各行业权重 × 其股票超出股票池的收益（已去除规模）"),
    "note_selection": (
        "what the names earned beyond market and groups: the choice within them",
        "个股超出市场与分组的收益：组内的选择"),
    "note_trading": (
        "fills away from the close: from the fill to the close of the bar", "非收盘成交：从成交价到当根收盘"),
    "note_cost": ("fees and slippage over the equity before the bar", "费用与滑点占此前净值"),
    "note_rest": (
        "rounding of money, and dividends and splits turned into cash within a bar",
        "金额取整，以及当根内分红拆分转成的现金"),
    "not_given": ("not given", "未提供"),
    "f_attribution": (
        "Of {net} a year the market gave {market}, selection {selection} (its interval {verb}) and costs {cost}",
        "年均 {net} 中，市场贡献 {market}，选股 {selection}（区间{verb}），成本 {cost}",
    ),
    "f_attribution_bare": (
        "Over these {n} bars the market gave {market}, selection {selection} and costs {cost}; too few for intervals",
        "这 {n} 根 K 线中，市场贡献 {market}，选股 {selection}，成本 {cost}；太短，无法给出区间",
    ),
    "c_attribution": (
        "Every bar's net return, cut by what was held before it into parts that add up to it; no regression. Dots: "
        "mean a year, with 95 % block-bootstrap intervals; the parts of a bar are drawn together.",
        "按每根 K 线之前的持仓，把当根净收益拆成可加总的各部分，不用回归。点：年均值及 95 % 分块自助区间，"
        "同一根的各部分一起抽样。",
    ),
    "c_attribution_size": ("Size: {of}.", "规模：{of}。"),
    "size_market_cap": ("market capitalisation", "市值"),
    "size_traded": ("value traded, mean of {n} bars", "成交额，{n} 根平均"),
    "x_attribution": ("Mean a year, % of equity", "年均值，占净值 %"),
    "x_attribution_bare": ("Linked over the test, % of equity", "全期连结值，占净值 %"),
    "part": ("Part, and how it is computed", "部分及计算方式"),
    "mean_year": ("Mean a year", "年均值"),
    "linked": ("Whole test, linked", "全期连结"),
    "f_attribution_years": (
        "Selection added in {k} of {m} calendar years: best {best} ({high}), worst {worst} ({low})",
        "选股在 {m} 个日历年中有 {k} 年为正：最好 {best}（{high}），最差 {worst}（{low}）",
    ),
    "f_attribution_years_one": ("In {year}, selection came to {value}", "{year} 年选股合计 {value}"),
    "c_attribution_years": (
        "The parts of each calendar year, scaled so that they add up to its compounded net return (Carino). "
        "Mark: the net return.",
        "每个日历年的各部分，按 Carino 法缩放，加总等于当年复利净收益。标记：净收益。",
    ),
    "x_attribution_years": ("Part of the year's net return, %", "占当年净收益的部分，%"),
    "f_attribution_path": (
        "Summed bar by bar, selection stands at {end} at the end; its high was {high} on {top}, its low {low} on "
        "{bottom}",
        "逐根累加，选股期末为 {end}；最高 {high}（{top}），最低 {low}（{bottom}）",
    ),
    "c_attribution_path": (
        "Plain sums of the bars' parts, without the market. The table holds every month, linked to its compounded net "
        "return.",
        "各部分逐根简单累加，不含市场。表中为每月数值，连结到当月复利净收益。",
    ),
    "x_attribution_path": ("Sum so far, % of equity", "累计，占净值 %"),
    "month": ("Month", "月份"),
    "bars": ("Bars", "K 线数"),
    # exposure
    "f_exposure": (
        "On average {net} of equity is invested in {names} names; {turnover} × turnover a year costs {cost}",
        "平均投资 {net} 的净值，持有 {names} 只；年换手 {turnover} 倍，成本 {cost}",
    ),
    "f_exposure_short": (
        "On average {names} names are held, {gross} of equity long and short together, {net} net; {turnover} × "
        "turnover a year costs {cost}",
        "平均持有 {names} 只，多空合计 {gross}，净 {net}；年换手 {turnover} 倍，成本 {cost}",
    ),
    "f_exposure_none": ("Nothing was ever held", "从未持仓"),
    "c_exposure": (
        "After each bar: the value held over equity, longs and shorts added (gross) and netted (net), and the "
        "number of names. Turnover is one-way.",
        "每根 K 线后：持仓市值占净值，多空相加（总）与相抵（净），以及持有只数。换手为单边。",
    ),
    "x_exposure": ("Exposure, % of equity", "敞口，占净值 %"),
    "x_names": ("Names held", "持有只数"),
    "gross_exposure": ("Gross", "总敞口"),
    "net_exposure": ("Net", "净敞口"),
    "names": ("Names", "只数"),
    "all_years": ("All", "全部"),
    # months
    "f_heatmap": (
        "{k} of {m} months gained; the best was {top} ({high}), the worst {bottom} ({low})",
        "{m} 个月中有 {k} 个月盈利；最好 {top}（{high}），最差 {bottom}（{low}）",
    ),
    "f_heatmap_one": ("{top}, the only month, came to {high}", "仅有的月份 {top} 为 {high}"),
    "c_heatmap": (
        "Compounded net return of each calendar month, %; a first or last month may be cut. Colours are full at the "
        "size that one month in twenty exceeds.",
        "每个日历月的复利净收益，%；首尾月份可能不完整。颜色在二十个月中有一个超过的幅度处达到最深。",
    ),
    "month_of": ("{month}\u00a0{year}", "{year}年{month}"),
    "x_heatmap": ("Net return of the month, %", "当月净收益，%"),
    "whole_year": ("Year's total", "全年"),
    "m_1": ("Jan", "1月"), "m_2": ("Feb", "2月"), "m_3": ("Mar", "3月"), "m_4": ("Apr", "4月"),
    "m_5": ("May", "5月"), "m_6": ("Jun", "6月"), "m_7": ("Jul", "7月"), "m_8": ("Aug", "8月"),
    "m_9": ("Sep", "9月"), "m_10": ("Oct", "10月"), "m_11": ("Nov", "11月"), "m_12": ("Dec", "12月"),
    # rolling Sharpe
    "f_rolling": (
        "Over {n} bars the Sharpe ratio ranged from {low} to {high}; in {share} of the windows its band excludes 0",
        "{n} 根窗口的夏普比率在 {low} 至 {high} 之间；{share} 的时间区间不含 0",
    ),
    "f_rolling_none": ("Rolling Sharpe ratio: the net return never moved", "滚动夏普比率：净收益从未变动"),
    "c_rolling": (
        "Net Sharpe ratio of the last {n} bars. Band: 95 %, pointwise, by the standard error of Mertens (2002), which "
        "takes the bars as independent; neighbouring windows share their bars. Dashed: the whole test, {whole}.",
        "最近 {n} 根的净夏普比率。色带：逐点 95 %，按 Mertens (2002) 标准误，假定各根独立；相邻窗口共用 K 线。"
        "虚线：全期 {whole}。",
    ),
    "x_rolling": ("Net Sharpe ratio, per year", "净夏普比率（年化）"),
    "rolling_line": ("Last {n} bars", "最近 {n} 根"),
    "rolling_band": ("95 % band", "95 % 区间"),
    "whole_test": ("Whole test", "全期"),
    "range_low": ("Lowest", "最低"),
    "range_high": ("Highest", "最高"),
    "at_end": ("At its end", "期末"),
    # regimes
    "r_calm": ("calm", "平静"), "r_middle": ("middling", "中等"), "r_turbulent": ("turbulent", "动荡"),
    "r_falling": ("falling", "下跌"), "r_rising": ("rising", "上涨"), "r_not known": ("not known", "未知"),
    "k_volatility": ("volatility: {name}", "波动：{name}"), "k_trend": ("trend: {name}", "趋势：{name}"),
    "f_regimes": (
        "It earned most under “{best}” ({high} a year) and least under “{worst}” ({low}); {k} of {m} intervals "
        "exclude 0",
        "“{best}”时收益最高（每年 {high}），“{worst}”时最低（{low}）；{m} 个区间中有 {k} 个不含 0",
    ),
    "f_regimes_none": (
        "States of the market: too few bars, in the test or before it, to compare any",
        "市场状态：测试期或此前的 K 线太少，无法比较"),
    "c_regimes": (
        "Mean net return a year on the bars of each state of the market, as it was known before the bar: volatility of "
        "the last {window} bars, in thirds of all earlier ones; trend of the last {trend} bars. Intervals: 95 %, block "
        "bootstrap of those bars laid end to end.",
        "按每根 K 线之前已知的市场状态统计年均净收益：最近 {window} 根的波动率在此前所有值中的三分位；"
        "最近 {trend} 根的趋势。"
        "区间：95 %，把这些 K 线首尾相接后分块自助。",
    ),
    "x_regimes": ("Mean net return, % a year", "年均净收益，%"),
    "regime": ("Market", "市场"),
    "share_bars": ("Share of bars", "占比"),
    "regime_net": ("Net, compounded", "净收益（复利）"),
    "regime_market": ("Market", "市场收益"),
    # falls
    "c_fall_under": (
        "Wealth over its running maximum, minus 1; under water on {share} of the bars.",
        "净值除以历史最高值再减 1；{share} 的 K 线处于水下。",
    ),
    "down": ("Bars down", "下跌根数"),
    "up": ("Bars back up", "收复根数"),
    "not_yet": ("not yet", "尚未"),
    # signal
    "f_decay": (
        "RankIC is {first} over {a} and {last} over {b}; {k} of {m} intervals exclude 0{half}",
        "{a}的 RankIC 为 {first}，{b}为 {last}；{m} 个区间中有 {k} 个不含 0{half}",
    ),
    "f_decay_half": ("; half of it is gone {n} bars later", "；{n} 根后减半"),
    "f_decay_lasts": ("; more than half of it is left {n} bars later", "；{n} 根后仍保留一半以上"),
    "f_decay_none": (
        "IC by horizon: too few dates on which two names or more have a score and a return",
        "分期限 IC：同时有两只以上得分与收益的日期太少"),
    "bar_1": ("1 bar", "1 根"),
    "bar_n": ("{n} bars", "{n} 根"),
    "c_decay": (
        "Mean rank correlation over dates of the same scores with what followed: with the return of the next n bars "
        "(full), and with the single bar that begins n bars later (hollow). 95 % block bootstrap, blocks of at least "
        "the horizon.",
        "同一得分与随后收益的截面秩相关，按日期平均：实心为未来 n 根的收益，空心为 n 根之后那一根的收益。"
        "95 % 分块自助，块长不小于期限。",
    ),
    "x_decay": ("RankIC (a correlation, −1 to 1)", "RankIC（相关系数，−1 至 1）"),
    "x_bars": ("bars", "K 线根数"),
    "by_horizon": ("Return of the next n bars", "未来 n 根的收益"),
    "by_lag": ("Single bar, n bars later", "n 根之后的单根"),
    "over": ("Over", "期间"),
    "span_horizon": ("next {n}", "未来 {n} 根"),
    "span_lag": ("one, {n} later", "{n} 根后的一根"),
    "f_quantiles": (
        "Before costs the top {name} of the scores earned {gross} a year against the bottom (its interval {verb}); "
        "after costs a long-short of the two earns {net}",
        "扣除成本前，得分最高的{name}每年比最低的{name}多 {gross}（区间{verb}）；扣除成本后两者多空为 {net}",
    ),
    "f_quantiles_none": (
        "Returns by quantile: too few dates with a name in every quantile", "分位数收益：每组都有股票的日期太少"),
    "q_2": ("half", "一半"), "q_3": ("third", "三分之一"), "q_4": ("quarter", "四分之一"), "q_5": ("fifth", "五分之一"),
    "c_quantiles": (
        "Names sorted by score on each date into {q} groups, equal weights, held {h}; mean return a year with 95 % "
        "block-bootstrap intervals. After costs: turnover × {bps} a side. No book, no lots: the signal alone.",
        "每个日期按得分分成 {q} 组，等权，持有 {h}；年均收益及 95 % 分块自助区间。扣除成本：换手 × 单边 {bps}。"
        "不含组合规则与整手：只看信号。",
    ),
    "x_quantiles": ("Mean return, % a year", "年均收益，%"),
    "quantile": ("Quantile", "分位"),
    "q_spread": ("spread", "差值"),
    "x_quantile": (
        "quantile of the scores, 1 = lowest; spread = highest less lowest", "得分分位，1 为最低；差值 = 最高 − 最低"),
    "above_all": ("Above all scored", "相对全部"),
    "turned": ("Turnover per holding", "每期换手"),
    "f_autocorrelation": (
        "Ranks correlate {first} with those of the bar before and {last} with those {n} bars before",
        "排名与前一根的相关系数为 {first}，与 {n} 根前的为 {last}",
    ),
    "f_autocorrelation_none": (
        "Autocorrelation of the ranks: too few dates that rank the same names",
        "排名自相关：同时对相同股票排名的日期太少"),
    "c_autocorrelation": (
        "Mean over dates of the correlation of the scores' ranks with those some bars before; 1 = the order does not "
        "change, so nothing needs to be traded. 95 % block-bootstrap intervals.",
        "得分排名与若干根前排名的相关系数，按日期平均；1 表示次序不变、无需交易。95 % 分块自助区间。",
    ),
    "x_autocorrelation": ("Correlation of ranks", "排名相关系数"),
    "x_lag_bars": ("bars before", "前第几根"),
    "lag": ("Lag", "间隔"),
    # what would have to be true
    "f_breakeven": ("It paid {paid} a side; {alone}; {rival}", "实际单边成本 {paid}；{alone}；{rival}"),
    "f_breakeven_alone": ("It paid {paid} a side; {alone}", "实际单边成本 {paid}；{alone}"),
    "be_free_of": ("It paid nothing to trade; {alone}", "交易没有成本；{alone}"),
    "be_nothing": (
        "its mean net return stays above {rf} up to {cost}", "成本不高于 {cost} 时平均净收益保持在 {rf} 以上"),
    "be_nothing_never": ("it would lose even free of costs", "即使没有成本也亏损"),
    "be_nothing_not": ("no break-even cost: {why}", "没有盈亏平衡成本：{why}"),
    "be_rival": ("it stays ahead of equal weight up to {cost}", "成本不高于 {cost} 时领先等权"),
    "be_rival_never": ("it would trail equal weight even free of costs", "即使没有成本也落后于等权"),
    "be_rival_not": ("against equal weight: {why}", "相对等权：{why}"),
    "c_breakeven": (
        "The cost of a side, of the value traded, at which the mean is 0, the trades as they were; 95 % block "
        "bootstrap of the ratio. Dashed: what a side cost here; it must stay left of the dot. The mean is arithmetic: "
        "the compounded return below is gone sooner.",
        "使均值为 0 的单边成本（占成交金额），交易保持不变；比值的 95 % 分块自助区间。虚线：实际单边成本，"
        "须在点的左侧。此处为算术平均：下图的复利收益更早归零。",
    ),
    "c_retraded": (
        "Traded again at other costs, lots and cash included, the return is gone at {x} times them.",
        "以其他成本重新成交（含整手与现金）时，收益在成本的 {x} 倍处归零。",
    ),
    "x_breakeven": ("cost of a side, basis points", "单边成本，基点"),
    "paid": ("Paid", "实际"),
    "against": ("Against", "相对"),
    "against_nothing": ("nothing (net return 0)", "零收益"),
    "against_equal weight": ("equal weight", "等权组合"),
    "breakeven_cost": ("Break-even cost a side", "盈亏平衡单边成本"),
    "of_paid": ("× what it paid", "实际成本的倍数"),
    "f_delay": (
        "The edge of {edge} a year over equal weight (its interval {verb}) is gone after {n} bars of delay",
        "相对等权的优势每年 {edge}（区间{verb}），延迟 {n} 根后消失",
    ),
    "f_delay_lasts": (
        "The edge of {edge} a year over equal weight (its interval {verb}) outlives {n} bars of delay",
        "相对等权的优势每年 {edge}（区间{verb}），延迟 {n} 根后仍在",
    ),
    "f_delay_none": (
        "There is no edge over equal weight for a delay to take: {edge} a year without any",
        "没有可被延迟消耗的优势：不延迟时相对等权每年 {edge}",
    ),
    "c_delay": (
        "The same decisions filled that many bars later: mean net return a year above equal weight as traded, with "
        "95 % paired block-bootstrap intervals.",
        "同样的决策推迟若干根成交：相对（未推迟的）等权的年均净收益，95 % 配对分块自助区间。",
    ),
    "x_delay": ("Net return above equal weight, % a year", "相对等权的净收益，%／年"),
    "x_delay_bars": ("bars later than it was filled", "比实际成交晚几根"),
    "edge": ("Above equal weight", "相对等权"),
    **STUDY,
}  # fmt: skip
