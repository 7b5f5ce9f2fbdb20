"""Fixed phrases of the robustness section and of the rules in force, in English and Chinese; part of ``WORDS``."""

from __future__ import annotations

ROBUST: dict[str, tuple[str, str]] = {
    # the null band behind the equity chart
    "null": ("Permuted scores, middle 95 %", "打乱得分，中间 95 %"),
    "null_low": ("Permuted 2.5 %", "打乱 2.5 %"),
    "null_mid": ("Permuted median", "打乱中位"),
    "null_high": ("Permuted 97.5 %", "打乱 97.5 %"),
    "f_null": (
        "{title}; {n} of {m} books of permuted scores end at or above it",
        "{title}；{m} 个打乱得分的组合中有 {n} 个终值不低于它",
    ),
    "c_null": (
        "Grey band: the middle 95 % of {m} books whose scores were handed to other names, each by one fixed "
        "permutation, under the same portfolio rule, fills and costs; one-sided p = (1 + {n}) / (1 + {m}) = {p}.",
        "灰带：{m} 个组合的中间 95 %，每个用一个固定置换把得分交给别的标的，组合规则、成交与成本不变；"
        "单侧 p = (1 + {n}) / (1 + {m}) = {p}。",
    ),
    # costs and delay
    "f_stress": (
        "The net return of {net} a year falls to 0 at {x} times the costs; filled {bars} later it is {late}",
        "年化净收益 {net}，成本增至 {x} 倍时降为 0；晚 {bars} 成交则为 {late}",
    ),
    "f_stress_beyond": (
        "The net return of {net} a year is still {dear} at {most} times the costs; filled {bars} later it is {late}",
        "年化净收益 {net}，成本增至 {most} 倍时仍有 {dear}；晚 {bars} 成交则为 {late}",
    ),
    "f_stress_under": (
        "After costs it loses, {net} a year: it would break even at {x} times the costs; filled {bars} later "
        "it is {late}",
        "扣除成本后亏损，每年 {net}：成本降至 {x} 倍才能持平；晚 {bars} 成交则为 {late}",
    ),
    "f_stress_never": (
        "It loses money even free of costs: {free} a year before them, {net} after",
        "不计成本也亏损：扣除前每年 {free}，扣除后 {net}",
    ),
    "f_stress_unknown": ("The net return as traded is not known", "实际成交的净收益未知"),
    "c_stress": (
        "The same decisions traded again: every fee, tax, slippage and impact times the factor, every fill that many "
        "bars later. Difference: mean of the paired differences to the book as traded, a year, with its 95 % interval.",
        "同样的决策重新成交：所有费用、税、滑点与冲击乘以该倍数，每笔成交推迟相应根数。"
        "差值：与实际组合逐日配对之差的年化均值及其 95 % 区间。",
    ),
    "c_cross": (
        "{caption} Cross: where the net return is 0, read off by straight lines between the marks.",
        "{caption}叉号：净收益为 0 处，按各点间直线读出。",
    ),
    "x_stress": ("Compound annual net return, %", "年化净收益（复利），%"),
    "x_times": ("times the costs as traded", "成本相对实际的倍数"),
    "times": ("Costs", "成本"),
    "delay": ("Delay", "延迟"),
    "delay_0": ("as traded", "实际"),
    "delay_1": ("+1 bar", "+1 根"),
    "delay_n": ("+{n} bars", "+{n} 根"),
    "difference": ("Difference a year", "每年差值"),
    "breakeven": ("break-even", "盈亏平衡"),
    # capacity
    "f_capacity": (
        "Half of the net return is gone at a capital of {half}",
        "资金规模达到 {half} 时净收益减半",
    ),
    "f_capacity_beyond": (
        "More than half of the net return is left at a capital of {most}",
        "资金规模为 {most} 时净收益仍保留一半以上",
    ),
    "f_capacity_below": (
        "Volume cap and impact take more than half of the net return already at a capital of {least}",
        "资金规模仅 {least} 时，成交量上限与冲击成本已吃掉一半以上净收益",
    ),
    "f_capacity_none": (
        "There is no net return to halve: {net} a year as traded",
        "没有可减半的净收益：实际每年 {net}",
    ),
    "f_capacity_not": ("Capacity was not assessed: {why}", "未评估资金容量：{why}"),
    "no_volume": ("no volume in these bars", "行情中没有成交量"),
    "c_capacity": (
        "The same decisions at larger capital. Assumed: an order takes at most {cap} of its bar's volume, and moves "
        "its price by {impact} × daily deviation × √(shares / mean volume of 20 bars). What the "
        "cap cuts stays in cash. Dotted: as traded ({net} a year).",
        "同样的决策、更大的资金。假设：一笔委托至多占该根成交量的 {cap}，价格冲击为 {impact} × 日波动率 × "
        "√(股数 / 20 根平均成交量)。被截断的部分留作现金。点线：实际成交（每年 {net}）。",
    ),
    "x_capital": ("capital, in the currency of the bars, log scale", "资金规模（行情货币，对数刻度）"),
    "capital": ("Capital", "资金"),
    "cut": ("Orders cut by the cap", "被上限截断的委托"),
    "as_traded": ("As traded", "实际成交"),
    "half_line": ("Half of it", "其一半"),
    # orders
    "f_orders": (
        "{share} of the value ordered was not traded, the largest part for “{reason}” ({most})",
        "委托金额中有 {share} 未成交，其中最多的是“{reason}”（{most}）",
    ),
    "f_orders_part": (
        "{share} of the value ordered was not traded, the largest part ({most}) of orders filled in part: cash, lots "
        "or volume ran out",
        "委托金额中有 {share} 未成交，其中最多的（{most}）属于部分成交：现金、整手或成交量不足",
    ),
    "f_orders_all": ("Every order was filled whole", "所有委托全部成交"),
    "f_orders_none": ("Nothing was ever ordered", "从未下单"),
    "c_orders": (
        "Orders by what became of them, {n} in all; value is shares ordered × the last price at the decision. What is "
        "not filled is dropped until the next decision. One-way turnover {turnover} × a year, costs {cost} a year.",
        "按结果统计的委托，共 {n} 笔；金额为委托股数 × 决策时最新价。未成交部分作废，直到下次决策。"
        "单边换手 {turnover} 倍／年，成本每年 {cost}。",
    ),
    "x_orders": ("Value not traded, % of all value ordered", "未成交金额，占全部委托金额 %"),
    "reason": ("What became of the order", "委托结果"),
    "buys": ("Buys", "买入"),
    "sells": ("Sells", "卖出"),
    "of_orders": ("Share of orders", "占委托笔数"),
    "of_value": ("Share of value", "占委托金额"),
    "undone": ("Not traded, of all value", "未成交，占全部金额"),
    "o_filled": ("filled whole", "全部成交"),
    "o_filled in part": ("filled in part", "部分成交"),
    "o_not tradable": ("not tradable", "不可交易"),
    "o_no cash": ("no cash", "现金不足"),
    "o_no shares": ("no shares", "无持股"),
    "o_below one lot": ("below one lot", "不足一手"),
    "o_limit up": ("limit up", "涨停"),
    "o_limit down": ("limit down", "跌停"),
    "o_one price": ("one price", "一字板"),
    "o_T+1": ("T+1", "T+1"),
    "o_volume cap": ("volume cap", "成交量上限"),
    "o_suspended": ("suspended", "停牌"),
    "o_not listed": ("not listed", "未上市或已退市"),
    # calendar years
    "f_periods": (
        "Ahead of equal weight in {k} of {m} calendar years; {year} was the worst of them ({worst})",
        "{m} 个日历年中有 {k} 年跑赢等权；{year} 年最差（{worst}）",
    ),
    "f_periods_one": (
        "In its only calendar year, {year}, it stood {worst} against equal weight",
        "仅有的日历年 {year}，相对等权为 {worst}",
    ),
    "f_periods_alone": (
        "It gained in {k} of {m} calendar years; {year} was the worst of them ({worst})",
        "{m} 个日历年中有 {k} 年盈利；{year} 年最差（{worst}）",
    ),
    "c_periods": (
        "Compounded net return of each calendar year less that of equal weight under the same costs; the "
        "title counts years of {short} bars or more. A year's Sharpe ratio has a wide interval: it is {n} bars "
        "or fewer.",
        "每个日历年的复利净收益减去同等成本下等权组合的收益；标题只计不少于 {short} 根 K 线的年份。"
        "单年夏普区间很宽：至多 {n} 根。",
    ),
    "c_periods_alone": (
        "Compounded net return of each calendar year; the title counts years of {short} bars or more.",
        "每个日历年的复利净收益；标题只计不少于 {short} 根 K 线的年份。",
    ),
    "x_excess": ("Net return above equal weight, % of the year", "相对等权的当年净收益，%"),
    "x_gain": ("Net return, % of the year", "当年净收益，%"),
    "days": ("Bars", "K 线数"),
    "year_return": ("Net return", "净收益"),
    "excess": ("Above equal weight", "相对等权"),
    "turnover_year": ("Turnover, ×", "换手率，倍"),
    "cost_year": ("Cost", "成本"),
    # rules in force
    "rules": ("Rules in force", "现行规则"),
    "rules_market": ("Market", "市场"),
    "rules_digest": ("Digest of the rule records", "规则记录摘要"),
    "rules_against": ("Closes that contradict them", "与规则矛盾的收盘价"),
    "rules_of": ("{n} of {m}", "{m} 个中的 {n} 个"),
    "rules_uncounted": ("not counted", "未统计"),
}
