"""Captions, assumptions and names of run facts that a study gives its report, in English and Chinese."""

from __future__ import annotations

STUDY: dict[str, tuple[str, str]] = {
    "y_title": ("{study}: {book}", "{study}：{book}"),
    "y_ladder": (
        "IC and RankIC: mean over dates of the cross-sectional correlation with the realised {label}; 95 % "
        "block-bootstrap intervals. Every book trades under the same rule and costs.",
        "IC 与 RankIC：与实现的 {label} 的截面相关系数，按日期平均；95 % 分块自助区间。所有组合规则与成本相同。",
    ),
    "y_equity": (
        "Net of costs, fills at the {fill}, wealth 1 at the start. An end point is one draw of many: the intervals say "
        "how firm it is.",
        "扣除成本，以{fill}成交，起点净值为 1。终点只是众多可能中的一次抽样：可靠程度以区间为准。",
    ),
    "fill_next_close": ("next close", "次根收盘价"),
    "fill_next_open": ("next open", "次根开盘价"),
    "fill_same_close": ("same close", "当根收盘价"),
    "y_equity_more": (" {n} further books are in the ladder only.", "另有 {n} 个组合只列在阶梯表中。"),
    "y_equity_no_null": (
        " No band of permuted scores: hundreds of books of the convex optimiser would take hours.",
        "未画打乱得分的灰带：凸优化的数百个组合需要数小时。",
    ),
    "y_benchmark": ("benchmark", "基准"),
    "y_equal weight": ("equal weight", "等权"),
    "y_buy and hold": ("buy and hold", "买入持有"),
    "y_zero": ("zero", "零预测"),
    "y_persistence": ("persistence", "惯性预测"),
    "y_momentum": ("momentum", "动量"),
    "y_hindsight": (
        "the best and the worst {k} names of every rebalance, chosen with perfect foresight, before costs",
        "每次调仓以完全预见选出的最好与最差 {k} 只，未扣成本",
    ),
    "y_example": (
        "The last {n} forecasts of {name}, out of sample, and the {h}-bar return realised after each.",
        "{name} 最后 {n} 个样本外预测，以及每次预测之后 {h} 根的实现收益。",
    ),
    "y_horizon_1": ("1 bar", "1 根"),
    "y_horizon_n": ("{n} bars", "{n} 根"),
    "y_gates": ("First layer, recomputed in NumPy from the saved weights.", "第一层，由保存的权重用 NumPy 重新算出。"),
    "y_weights": ("Weights as decided; the {n} names held most.", "决策时的权重；持有最多的 {n} 只。"),
    "y_costs": (
        "Gross: the same decisions traded at the same prices without fees or slippage.",
        "扣除前：同样的决策、同样的价格，不计费用与滑点。",
    ),
    "y_basis": ("compound annual return", "年化收益（复利）"),
    "y_list": (
        "One asset per {every}, chosen after the fact, no costs. Nobody could have known. One holding a bar, fills at "
        "the {fill}, {bps} bps a side and the duties of the rules (fractional shares, exact search) takes 1 to between "
        "{low} and {high}",
        "每{every}一只，事后挑选，不计成本，无人能够预知。每根 K 线只持一只、以{fill}成交、单边 {bps} 个基点并计规则"
        "规定的税费（允许零股，精确搜索）时，1 会变为 {low} 至 {high}",
    ),
    "y_month": ("month", "月"),
    "y_year": ("year", "年"),
    "y_list_bound": (
        ": no long-only book on the same fills and costs can end above that.",
        "：同样成交与成本下，任何只做多的组合都不可能超过它。",
    ),
    "y_list_actions": (
        "; it pays by the factor, not by the table of actions.",
        "；它按复权因子计分红，而不是按公告表。",
    ),
    "y_hint": (
        "{n} closes stand exactly 5 % from the one before and at the day's high or low, where chance would put {m}: "
        "some names were ST, and their limit is taken too wide.",
        "有 {n} 个收盘价恰好较前一收盘涨跌 5 % 且处于当日最高或最低，偶然情形只应有 {m} 个：部分股票曾为 ST，"
        "其限价被取得过宽。",
    ),
    # assumptions
    "y_decisions": (
        "Decisions at the close, fills at the {fill}; {shares}; {fee} bps fee and {slip} bps slippage a side, {tax}; "
        "capital {capital}.",
        "收盘时决策，以{fill}成交；{shares}；单边费用 {fee} 个基点、滑点 {slip} 个基点，{tax}；资金 {capital}。",
    ),
    "y_shares_rules": ("whole shares in lots, money to 0.01", "整股按手，金额精确到 0.01"),
    "y_shares_lots": ("lots of {n} shares", "每手 {n} 股"),
    "y_shares_fraction": ("fractional shares", "允许零股"),
    "y_tax_rules": ("duties and fees by date", "税费按日期规定"),
    "y_tax": ("{n} bps tax on sales", "卖出税 {n} 个基点"),
    "y_suspended": (
        "Suspended names do not trade. Orders that cannot fill are dropped until the next decision.",
        "停牌不交易。无法成交的委托作废，直到下次决策。",
    ),
    "y_prices": (
        "Features read prices x factor and volume / factor; the exchange trades raw prices.",
        "特征使用 价格×复权因子 与 成交量/复权因子；交易按原始价格。",
    ),
    "y_impact": (
        "An order takes at most {cap} of a bar's volume (0: any) and pays {impact} x sigma x sqrt(shares / mean volume "
        "of 20 bars) for its impact.",
        "一笔委托至多占该根成交量的 {cap}（0 表示不限），冲击成本为 {impact} × σ × √(股数 / 20 根平均成交量)。",
    ),
    "y_no_rules": (
        "No market rules: price limits, T+1 and the lots of a board are not enforced; shorts borrow for free.",
        "未采用市场规则：不执行涨跌停、T+1 与板块手数；融券不计费用。",
    ),
    "y_member": ("Universe by dated membership: {of}", "股票池按成分股日期：{of}"),
    "y_rf": ("No risk-free rate is taken off: rf = 0 % a year everywhere.", "未减无风险利率：全部按每年 0 % 计。"),
    # groups of run facts
    "g_digests": ("digests", "摘要"),
    "g_seeds": ("seeds", "随机种子"),
    "g_versions": ("versions", "版本"),
    "g_machine": ("machine", "机器"),
    "g_seconds": ("seconds", "耗时（秒）"),
    "g_samples": ("samples (train, valid, test)", "样本数（训练、验证、测试）"),
    "g_purged": ("purged samples", "清除的样本"),
    "g_folds": ("RankIC per fold", "各折 RankIC"),
    "g_trials": ("trials counted", "计入的试验"),
}
