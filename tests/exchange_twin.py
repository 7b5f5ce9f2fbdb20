"""The exchange once more: slow, plain Python, one event after the other, written from docs/exchange.md and not from the
kernels. Money is int fen, prices are int pips (0.0001 of the currency), shares are int; a float appears only where a
growth factor, a weight or a volatility enters. ``Twin`` keeps one account under rules; ``SimpleTwin`` one without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from hitherto.exchange.terms import Rulings
from hitherto.panel import Panel

REASONS = (
    "filled", "not tradable", "no cash", "no shares", "below one lot", "limit up", "limit down", "one price", "T+1",
    "volume cap", "suspended", "not listed",
)  # fmt: skip
NAMES = (
    "up", "down", "tick", "band", "lot", "step", "settle", "commission", "minimum", "tax_buy", "tax_sell", "transfer",
    "other", "share_both", "share_sell", "share_cap",
)  # fmt: skip


@dataclass
class Fill:
    """What became of one order: pips is None where it was refused; the rest is fen and shares."""

    t: int
    n: int
    decided: int
    ordered: int
    reason: str = "filled"
    shares: int = 0
    pips: int | None = None
    commission: int = 0
    tax: int = 0
    transfer: int = 0
    other: int = 0
    slippage: int = 0

    @property
    def fee(self):
        return self.commission + self.tax + self.transfer + self.other


@dataclass
class Ledger:
    """One line per bar: equity, cash, corporate, fees, slippage, traded in fen; shares a list of N; and the fills."""

    equity: list = field(default_factory=list)
    cash: list = field(default_factory=list)
    shares: list = field(default_factory=list)
    corporate: list = field(default_factory=list)
    fees: list = field(default_factory=list)
    slippage: list = field(default_factory=list)
    traded: list = field(default_factory=list)
    fills: list = field(default_factory=list)


def half_up(x):
    """Whole number nearest to an int, Fraction or float, halves up."""
    return math.floor(x + (Fraction(1, 2) if isinstance(x, Fraction) else 0.5))


def exact(x):
    """A decimal written in a table (0.15, 1.3), to eight places, without the noise of its binary form."""
    return Fraction(half_up(x * 1e8), 10**8)


class Twin:
    """One account under dated rules."""

    def __init__(self, panel, rules, costs, events=None, fill="next_close", times=1):
        self.panel, self.costs, self.fill, self.times, self.rules = panel, costs, fill, times, rules
        self.may_short = rules.shorts
        f = panel.fields
        self.price = f["open" if fill == "next_open" else "close"].tolist()
        self.close = f["close"].tolist()
        self.high, self.low, self.volume = (f[k].tolist() if k in f else None for k in ("high", "low", "volume"))
        self.factor = f["factor"].tolist() if "factor" in f else None
        self.T, self.N = panel.shape
        self.kinds = [self.rule(row) for row in rules.terms]
        self.events = {}
        if events is not None:
            for t, n, d, s in zip(events.t, events.n, events.dividend, events.split, strict=True):
                self.events[int(t), int(n)] = float(d), float(s)

    def rule(self, row):
        """One row of terms by name, the trader's commission and minimum put in, every cost x times."""
        r = dict(zip(NAMES, (x if math.isinf(x) else int(x) for x in row.tolist()), strict=True))
        r["commission"] = half_up(self.costs.fee_bps * 1e4)
        if self.costs.min_fee:
            r["minimum"] = half_up(self.costs.min_fee * 100)
        for name in NAMES[NAMES.index("commission") :]:
            r[name] = r[name] * self.times
        return r

    # ---- prices, limits, lots, money ---

    def ticks(self, pips, rule):
        return math.floor(pips / rule["tick"] + 0.5 + 1e-6)

    def pips(self, price, rule):
        return self.ticks(price * 1e4, rule) * rule["tick"]

    def limits(self, last, rule):
        """(down, up) in ticks; None where there is none. last: pips, after the ex-day."""
        if last is None:
            return None, None
        ref, down, up = self.ticks(last, rule), None, None
        if rule["up"] >= 0:
            up = max((ref * (10_000 + rule["up"]) + 5_000) // 10_000, ref + rule["band"])
        if rule["down"] >= 0:
            down = min((ref * (10_000 - rule["down"]) + 5_000) // 10_000, ref - rule["band"])
            if rule["band"]:
                down = max(down, 1)
        return down, up

    def lots(self, amount, rule):
        if amount < rule["lot"]:
            return 0
        return rule["lot"] + (amount - rule["lot"]) // rule["step"] * rule["step"]

    def part(self, value, rate):
        """One fee part: value x rate / 1e8, half-up."""
        return (value * rate + 50_000_000) // 100_000_000

    def per_share(self, amount, rate):
        """A fee of rate x 1e-8 of the currency a share, in fen, half-up."""
        return (amount * rate + 500_000) // 1_000_000

    def fee_parts(self, amount, value, rule, selling):
        commission = max(self.part(value, rule["commission"]), rule["minimum"])
        tax = self.part(value, rule["tax_sell" if selling else "tax_buy"])
        transfer = self.part(value, rule["transfer"]) + self.per_share(amount, rule["share_both"])
        other = self.part(value, rule["other"])
        if selling:
            other += min(self.per_share(amount, rule["share_sell"]), rule["share_cap"])
        return commission, tax, transfer, other

    def friction(self, t, n, amount, value):
        """Slippage and impact, each half-up to the fen."""
        slip = self.part(value, half_up(self.costs.slippage_bps * 1e4) * self.times)
        if self.costs.impact:
            sigma, adv = self.habits(t, n)
            if adv > 0:
                slip += half_up(value * (self.costs.impact * self.times * sigma * math.sqrt(amount / adv)))
        return slip

    def habits(self, t, n):
        """Standard deviation (n - 1) of simple returns, corporate actions taken out, and mean volume of the last 20
        known bars before bar t; 0 where fewer than two returns are known.
        """
        returns, volume, last = [], [], None
        for s in range(t):
            last = self.ex_price(s, n, last)
            if math.isfinite(self.close[s][n]):
                if last is not None:
                    returns.append(self.close[s][n] / last - 1.0)
                last = self.close[s][n]
            if math.isfinite(self.volume[s][n]):
                volume.append(self.volume[s][n])
        returns, volume = returns[-20:], volume[-20:]
        if len(returns) < 2 or not volume:
            return 0.0, 0.0
        mean = sum(returns) / len(returns)
        return math.sqrt(sum((r - mean) ** 2 for r in returns) / (len(returns) - 1)), sum(volume) / len(volume)

    def ex_price(self, t, n, last):
        """A close of before bar t as the market reads it on bar t."""
        if last is not None and (t, n) in self.events:
            d, split = self.events[t, n]
            return (last - d) / split
        return None if last is None else last / self.growth(t, n)

    def cap(self, t, n):
        """The most shares that one order may take."""
        if not self.costs.volume_cap:
            return math.inf
        if self.fill == "next_open":
            seen = [self.volume[s][n] for s in range(t) if math.isfinite(self.volume[s][n])]
        else:
            seen = [self.volume[t][n]]
        volume = seen[-1] if seen and math.isfinite(seen[-1]) else 0.0
        return self.whole_shares(self.costs.volume_cap * volume)

    def whole_shares(self, x):
        return math.floor(x)

    # ---- one bar ---

    def new_session(self):
        self.locked = [0] * self.N  # shares bought in this session under T+1
        self.reference = list(self.last)  # what price limits go by: the last price of the session before

    def lock(self, n, amount, rule):
        if rule["settle"]:
            self.locked[n] += amount

    def factor_growth(self, t, n):
        """Factor now over the last known factor before; 1 where either is unknown."""
        if self.factor is None or not math.isfinite(self.factor[t][n]):
            return 1.0
        for s in range(t - 1, -1, -1):
            if math.isfinite(self.factor[s][n]):
                return self.factor[t][n] / self.factor[s][n]
        return 1.0

    def growth(self, t, n):
        """Growth that moves money: a fall counts as 1 where the market knows none."""
        g = self.factor_growth(t, n)
        return 1.0 if g < 1 and not self.rules.falls else g

    def credit(self, held, last, g):
        """Fen that the holder is paid on an ex-day by factor: what the price loses."""
        return math.floor(held * last * (1.0 - 1.0 / g) / 100.0 + 0.5)

    def split(self, held, last, d, s):
        """(shares, ex price in pips, fen for the part of a share left over) after a dividend and a split."""
        ex, shares = (Fraction(last) - exact(d) * 10_000) / exact(s), held * exact(s)
        return math.floor(shares), float(ex), half_up((shares - math.floor(shares)) * ex / 100)

    def corporate(self, t, n):
        held, last = self.held[n], self.last[n]
        if last is None:
            return
        if (t, n) in self.events:
            d, s = self.events[t, n]
            self.held[n], self.last[n], rest = self.split(held, last, d, s)
            before = self.reference[n]
            self.reference[n] = None if before is None else self.split(0, before, d, s)[1]
            paid = half_up(held * exact(d) * 100) + rest
            self.orders[n] = math.trunc(self.orders[n] * exact(s))
        else:
            g = self.growth(t, n)
            if g == 1.0:
                return
            self.last[n] = last / g
            self.reference[n] = None if self.reference[n] is None else self.reference[n] / g
            if self.reinvest or g < 1:  # a fall is a reverse split: its worth in cash could overdraw the account
                noise = 1e-6  # of a share: 100 x 1.0099999 is 101, the factor came in single precision
                self.held[n] = math.floor(held * g + noise)
                self.orders[n] = math.trunc(self.orders[n] * g + math.copysign(noise, self.orders[n]))
                paid = max(half_up((held * g - self.held[n]) * self.last[n] / 100), 0)
            else:
                paid = self.credit(held, last, g)
        self.cash += paid
        self.line["corporate"] += paid

    def closed(self, t, n, ticks, down, up, selling):
        """The reason why the market refuses this side of bar t, or None. ticks: the price, None where unknown."""
        if not self.panel.listed[t, n]:
            return "not listed"
        if self.panel.suspended[t, n]:
            return "suspended"
        if ticks is None:
            return "not tradable"
        if selling and down is not None and ticks <= down:
            return "limit down"
        if not selling and up is not None and ticks >= up:
            return "limit up"
        one = self.fill != "next_open" and self.high is not None and self.high[t][n] == self.low[t][n]
        if one and ((up is not None and ticks >= up) or (down is not None and ticks <= down)):
            return "one price"
        return None

    def meet(self, t, n):
        """(rule, price in pips or None, why a sale is refused, why a purchase is refused)."""
        rule, price = self.kinds[self.rules.kind[t, n]], self.price[t][n]
        pips = self.pips(price, rule) if math.isfinite(price) and price > 0 else None
        ticks = None if pips is None else pips // rule["tick"]
        down, up = self.limits(self.reference[n], rule)
        return rule, pips, self.closed(t, n, ticks, down, up, True), self.closed(t, n, ticks, down, up, False)

    def book_fill(self, fill, amount, pips, parts, slip):
        value = (abs(amount) * pips + 50) // 100
        fill.shares, fill.pips, fill.slippage = amount, pips, slip
        fill.commission, fill.tax, fill.transfer, fill.other = parts
        self.cash += (value if amount < 0 else -value) - fill.fee - slip
        self.held[fill.n] += amount
        self.line["fees"] += fill.fee
        self.line["slippage"] += slip
        self.line["traded"] += value

    def sell(self, t, n, fill):
        rule, pips, refusal, _ = self.meet(t, n)
        everything = self.held[n] - self.locked[n]  # that may be sold
        if refusal:
            return refusal
        if self.held[n] <= 0 and not self.short:
            return "no shares"
        if everything <= 0 and not self.short:
            return "T+1"
        amount = min(-fill.ordered, math.inf if self.short else everything, self.cap(t, n))
        if amount == 0:
            return "volume cap"
        if amount != everything:
            amount = amount // rule["step"] * rule["step"] if rule["step"] > 1 else self.lots(amount, rule)
        if amount == 0:
            return "below one lot"
        value = (amount * pips + 50) // 100
        parts, slip = self.fee_parts(amount, value, rule, True), self.friction(t, n, amount, value)
        if sum(parts) + slip > self.cash + value and not self.short:
            return "no cash"
        self.book_fill(fill, -amount, pips, parts, slip)
        return "filled"

    def cost(self, t, n, amount, pips, rule):
        """(fee parts, slippage, all the cash that a purchase takes)."""
        if amount == 0:
            return (0, 0, 0, 0), 0, 0
        value = (amount * pips + 50) // 100
        parts, slip = self.fee_parts(amount, value, rule, False), self.friction(t, n, amount, value)
        return parts, slip, value + sum(parts) + slip

    def buy(self, t, fills):
        wanted = []  # (fill, rule, pips, shares wanted)
        for fill in fills:
            rule, pips, _, refusal = self.meet(t, fill.n)
            amount = 0 if refusal else min(fill.ordered, self.cap(t, fill.n))
            if refusal:
                fill.reason = refusal
            elif amount == 0:
                fill.reason = "volume cap"
            elif self.lots(amount, rule) == 0:
                fill.reason = "below one lot"
            else:
                wanted.append((fill, rule, pips, self.lots(amount, rule)))

        def amounts(j):
            return [self.lots(amount * j // 65_536, rule) for _, rule, _, amount in wanted]

        def affordable(j):
            bill = sum(self.cost(t, w[0].n, a, w[2], w[1])[2] for w, a in zip(wanted, amounts(j), strict=True))
            return bill <= self.cash

        low, high = 65_536, 65_536
        if not self.short and not affordable(65_536):
            low = 0
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if affordable(middle) else (low, middle)
        for (fill, rule, pips, _), amount in zip(wanted, amounts(low), strict=True):
            if amount == 0:
                fill.reason = "no cash"
                continue
            parts, slip, _ = self.cost(t, fill.n, amount, pips, rule)
            self.book_fill(fill, amount, pips, parts, slip)
            self.lock(fill.n, amount, rule)

    def trade(self, t, decided):
        """Meet bar t with the orders decided at ``decided``: sales by column, then all purchases at once."""
        fills = [Fill(t, n, decided, self.orders[n]) for n in range(self.N) if self.orders[n]]
        for fill in fills:
            if fill.ordered < 0:
                fill.reason = self.sell(t, fill.n, fill)
        self.buy(t, [fill for fill in fills if fill.ordered > 0])
        self.ledger.fills += fills
        self.orders = [0] * self.N

    def purse(self, capital):
        return half_up(capital * 100)

    def equity(self):
        return self.cash + sum(
            math.floor(h * last / 100 + 0.5) for h, last in zip(self.held, self.last, strict=True) if h
        )

    def mark(self, t):
        for n in range(self.N):
            if math.isfinite(self.close[t][n]):
                self.last[n] = float(self.pips(self.close[t][n], self.kinds[self.rules.kind[t, n]]))

    def decide(self, t, weights):
        equity = self.equity()
        for n in range(self.N):
            self.orders[n] = 0
            if math.isfinite(self.close[t][n]) and self.last[n] > 0:
                target = math.floor(weights[n] * equity * 100.0 / self.last[n]) if equity > 0 else 0
                self.orders[n] = target - self.held[n]

    def open_account(self, capital, reinvest=False):
        self.cash, self.held, self.last = self.purse(capital), [0] * self.N, [None] * self.N
        self.orders, self.reinvest, self.short, self.ledger = [0] * self.N, reinvest, False, Ledger()
        self.new_session()

    def bar(self, t, decided=None):
        """Events 0 to 5 of bar t for the orders that wait (``decided``: their bar, None for none)."""
        self.line = dict.fromkeys(("corporate", "fees", "slippage", "traded"), 0)
        if t and self.panel.sessions[t] != self.panel.sessions[t - 1]:
            self.new_session()
        for n in range(self.N):
            self.corporate(t, n)
        if decided is not None:
            self.trade(t, decided)
        self.mark(t)

    def close_bar(self):
        self.ledger.equity.append(self.equity())
        self.ledger.cash.append(self.cash)
        self.ledger.shares.append(list(self.held))
        for name, amount in self.line.items():
            getattr(self.ledger, name).append(amount)

    def book(self, weights, capital=1e6, start=None, stop=None, delay=1, reinvest=False):
        """The ledger of bars start..stop-1."""
        start = int(np.flatnonzero(weights.decided)[0]) if start is None else start
        values, pending = weights.values.tolist(), None
        self.open_account(capital, reinvest)
        for t in range(start, self.T if stop is None else stop):
            self.bar(t, pending)
            row, pending = t - (delay - 1), None
            if row >= start and weights.decided[row]:
                self.short = self.may_short and (self.short or min(values[row]) < 0)
                self.decide(t, values[row])
                pending = row
                if self.fill == "same_close":
                    self.trade(t, row)
                    pending = None
            self.close_bar()
        return self.ledger


class SimpleTwin(Twin):
    """One account in a market without rules: floats, nothing rounded, fractions of shares unless ``Costs.lot``.

    A long-only account scales all purchases by one factor when they cost more than its cash; one that may go short
    (from the first negative weight on) gets every order as asked.
    """

    def __init__(self, panel, costs, events=None, fill="next_close"):
        terms = np.zeros((1, len(NAMES)))
        terms[0, :3] = -1, -1, 1
        kind = np.zeros(panel.shape, np.uint8)
        super().__init__(panel, Rulings("", kind, terms, "", shorts=True), costs, events, fill)

    def rule(self, row):
        return {"up": -1, "down": -1, "tick": 1, "band": 0, "settle": 0}

    def pips(self, price, rule):
        return price

    def lots(self, amount, rule=None):
        lot = self.costs.lot
        return math.floor(amount / lot + 1e-9) * lot if lot else amount

    def growth(self, t, n):
        return self.factor_growth(t, n)

    def whole_shares(self, x):
        return x

    def taken(self, t, n, amount, value, selling):
        """(fee parts, slippage) of a trade."""
        c, tax = self.costs, value * self.costs.sell_tax_bps / 1e4 if selling else 0.0
        slip = value * c.slippage_bps / 1e4
        if c.impact:
            sigma, adv = self.habits(t, n)
            slip += value * c.impact * sigma * math.sqrt(amount / adv) if adv > 0 else 0.0
        return (max(value * c.fee_bps / 1e4, c.min_fee), tax, 0.0, 0.0), slip

    def corporate(self, t, n):
        held, last, paid = self.held[n], self.last[n], 0.0
        if (t, n) in self.events:
            d, s = self.events[t, n]
            self.held[n], self.orders[n] = held * s, self.orders[n] * s
            paid, self.last[n] = held * d, None if last is None else (last - d) / s
        elif last is not None:
            g = self.growth(t, n)
            self.last[n] = last / g
            self.reference[n] = None if self.reference[n] is None else self.reference[n] / g
            if self.reinvest or g < 1:
                self.held[n], self.orders[n] = held * g, self.orders[n] * g
            else:
                paid = held * last * (1.0 - 1.0 / g)
        self.cash += paid
        self.line["corporate"] += paid

    def book_fill(self, fill, amount, price, parts, slip):
        fill.shares, fill.pips, fill.slippage = amount, price, slip
        fill.commission, fill.tax, fill.transfer, fill.other = parts
        self.cash += -amount * price - fill.fee - slip
        self.held[fill.n] += amount
        self.line["fees"] += fill.fee
        self.line["slippage"] += slip
        self.line["traded"] += abs(amount) * price

    def sell(self, t, n, fill):
        _, price, refusal, _ = self.meet(t, n)
        if refusal:
            return refusal
        free = math.inf if self.short else max(self.held[n], 0.0)
        if free == 0:
            return "no shares"
        amount = min(-fill.ordered, free, self.cap(t, n))
        if amount == 0:
            return "volume cap"
        if amount != self.held[n]:
            amount = self.lots(amount)
        if amount == 0:
            return "below one lot"
        parts, slip = self.taken(t, n, amount, amount * price, True)
        if not self.short and self.cash + amount * price < sum(parts) + slip:
            return "no cash"
        self.book_fill(fill, -amount, price, parts, slip)
        return "filled"

    def buy(self, t, fills):
        wanted = []
        for fill in fills:
            _, price, _, refusal = self.meet(t, fill.n)
            amount = 0 if refusal else min(fill.ordered, self.cap(t, fill.n))
            fill.reason = refusal or ("volume cap" if amount == 0 else "filled")
            if fill.reason == "filled" and self.lots(amount) == 0:
                fill.reason = "below one lot"
            if fill.reason == "filled":
                wanted.append((fill, price, self.lots(amount)))

        def bill(s):
            total = 0.0
            for fill, price, amount in wanted:
                parts, slip = self.taken(t, fill.n, s * amount, s * amount * price, False)
                total += s * amount * price + sum(parts) + slip
            return total

        scale = 1.0
        if wanted and not self.short and bill(1.0) > self.cash * (1 - 1e-12):
            low, high = 0.0, 1.0
            for _ in range(100):
                middle = (low + high) / 2
                low, high = (middle, high) if bill(middle) <= self.cash * (1 - 2e-12) else (low, middle)
            scale = low if low >= 1e-12 else 0.0
        for fill, price, amount in wanted:
            done = amount if scale == 1.0 else self.lots(amount * scale)
            if done == 0:
                fill.reason = "no cash"
                continue
            parts, slip = self.taken(t, fill.n, done, done * price, False)
            self.book_fill(fill, done, price, parts, slip)

    def equity(self):
        return self.cash + sum(h * last for h, last in zip(self.held, self.last, strict=True) if h)

    def mark(self, t):
        for n in range(self.N):
            if math.isfinite(self.close[t][n]):
                self.last[n] = self.close[t][n]

    def decide(self, t, weights):
        equity = self.equity()
        for n in range(self.N):
            self.orders[n] = 0.0
            if math.isfinite(self.close[t][n]):
                target = weights[n] * equity / self.close[t][n] if equity > 0 else 0.0
                self.orders[n] = target - self.held[n]

    def purse(self, capital):
        return float(capital)


# ---- hand-made rules and panels for the tests ---

INF = np.inf
#         up   down  tick band lot step settle comm.   min. buy  sell     transfer other  both  sell    cap
MAIN = [1000, 1000, 100, 1, 100, 100, 1, 300_000, 500, 0, 100_000, 1_000, 0, 0, 0, INF]
STAR = [2000, 2000, 100, 1, 200, 1, 1, 300_000, 500, 0, 50_000, 1_000, 0, 0, 0, INF]
BSE = [3000, 3000, 100, 1, 100, 1, 1, 300_000, 500, 0, 50_000, 1_000, 12_500, 0, 0, INF]
ST = [500, 500, 100, 0, 100, 100, 1, 300_000, 500, 100_000, 100_000, 0, 4_870, 60_000, 0, INF]
ETF = [1000, 1000, 10, 1, 100, 100, 0, 300_000, 0, 0, 0, 0, 0, 0, 0, INF]
FREE = [-1, -1, 100, 0, 1, 1, 0, INF, 35, 0, 2_780, 0, 0, 0, 16_600, 20]
BOARDS = np.array([MAIN, STAR, BSE, ST, ETF, FREE], float)
LATER = BOARDS.copy()  # the same boards after a change of the rules
LATER[:, 9:12] //= 2
LATER[3, :2] = 1000
TERMS = np.vstack([BOARDS, LATER])


def rulings(kind, terms=TERMS, **options):
    """Hand-made rules: kind (T, N) rows of terms."""
    return Rulings(market="cn", kind=np.asarray(kind, np.uint8), terms=np.array(terms, float), digest="0" * 64,
                   assumptions=(), **options)  # fmt: skip


def panel_of(fields, sessions, listed=None, suspended=None):
    """A panel of (T, N) fields; NaN marks what is missing; several rows may share a session."""
    close = fields["close"]
    T, N = close.shape
    sessions = np.asarray(sessions, "datetime64[D]")
    bar = np.arange(T) - np.searchsorted(sessions, sessions)
    times = sessions.astype("datetime64[ns]").astype(np.int64) + (bar + 2) * 3_600_000_000_000
    listed = np.ones((T, N), bool) if listed is None else listed
    suspended = np.zeros((T, N), bool) if suspended is None else suspended
    return Panel(
        times=times, sessions=sessions, symbols=tuple(f"S{n}" for n in range(N)),
        fields={k: np.array(v, float) for k, v in fields.items()}, listed=listed, suspended=suspended,
        missing=listed & ~suspended & np.isnan(close), universe=listed.copy(),
        adjustment="factor" if "factor" in fields else "raw",
    )  # fmt: skip
