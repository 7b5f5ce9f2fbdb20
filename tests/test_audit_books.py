"""Books that can be run again: what knows its own bar or who lives on is caught, and honest books of all habits pass.

The books are deterministic functions of the panel and the audit's cuts are seeded, so that no test rests on luck.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitherto.audit import audit, made_up_panel
from hitherto.audit.books import from_book, long_frame
from hitherto.audit.probes.ledger import Fills
from hitherto.audit.probes.openings import PLANTED, AtTheOpen, other_bar
from hitherto.audit.probes.survivors import fated
from hitherto.errors import ConfigError, DataError
from hitherto.exchange.simulate import simulate
from hitherto.panel import MASKS
from hitherto.portfolio.base import Weights
from hitherto.seeds import Stream

PANEL = made_up_panel(200, 16, seed=5)


def wishes(panel, alive=None):
    """(t, n, side) after each bar: buy the third that fell most in five bars, sell the third that rose most."""
    price = pd.DataFrame(panel.fields["close"] * panel.fields["factor"])
    past = price.pct_change(5, fill_method=None)
    rank = (past if alive is None else past.where(alive, axis=1)).rank(axis=1, pct=True).to_numpy()
    t, n = np.nonzero(((rank <= 1 / 3) | (rank > 2 / 3)) & (np.arange(len(rank))[:, None] < len(rank) - 1))
    return t, n, np.where(rank[t, n] <= 1 / 3, 1, -1)


def at_open(change=lambda panel, t, n, side: {}, columns=()):
    """A book that fills the wishes at the next open; ``change`` gives other sides, shares, prices or a mask."""

    def book(panel):
        t, n, side = wishes(panel)
        new = {"side": side, "shares": 100.0, "price": panel.fields["open"][t + 1, n], "keep": True}
        new |= change(panel, t + 1, n, side)
        made = pd.DataFrame({
            "date": panel.sessions[t + 1], "symbol": np.array(panel.symbols)[n],
            "side": np.where(new["side"] > 0, "buy", "sell"), "shares": new["shares"], "price": new["price"],
            "decided": panel.sessions[t],
        })  # fmt: skip
        return made[np.isfinite(made["price"]) & new["keep"]].drop(columns=list(columns))

    return book


def rises(panel, t, n):
    return panel.fields["close"][t, n] > panel.fields["open"][t, n]


def found(report):
    return {f.leak: f for f in report.findings}


def opening(report):
    (one,) = [r for r in report.results if r.tried.startswith("the bar after its open")]
    return one


def test_an_honest_book_passes_with_every_planted_leak_caught():
    report = audit(from_book(at_open(), PANEL, name="honest"))
    assert (report.exit_code, report.findings, report.canary_caught) == (0, (), True)
    r = opening(report)
    assert (r.status, r.tried) == ("ok", "the bar after its open rewritten, at 8 bars")
    assert r.hits[PLANTED] == (8, 8)
    assert r.cuts[1] > 60
    assert [r.probe for r in report.results if r.status == "ok"].count("P9") >= 3
    assert report.classes["L23"] == "looked for by P9"
    again = audit(from_book(at_open(), PANEL, name="honest"))
    assert [dataclasses.replace(r, seconds=0) for r in again.results] == [
        dataclasses.replace(r, seconds=0) for r in report.results
    ]


def sized(panel, t, n, side):
    return {"shares": np.floor(10_000 / np.nan_to_num(panel.fields["close"][t, n], nan=1.0))}


def gated(panel, t, n, side):
    return {"keep": rises(panel, t, n) == (side > 0)}


def limit_at_the_close(panel, t, n, side):
    """Dropped where the close is two percent beyond the last one on the wrong side."""
    step = panel.fields["close"][t, n] / pd.DataFrame(panel.fields["close"]).ffill().to_numpy()[t - 1, n] - 1
    return {"keep": side * step < 0.02}


def better_of_both(panel, t, n, side):
    o, c = (panel.fields[k][t, n] for k in ("open", "close"))
    return {"price": np.where(side > 0, np.minimum(o, c), np.maximum(o, c))}


def busy_days(panel, t, n, side):
    return {"keep": panel.fields["volume"][t, n] > np.exp(13)}


@pytest.mark.parametrize(
    ("change", "leak", "note"),
    [
        (lambda p, t, n, side: {"side": np.where(rises(p, t, n), 1, -1)}, "L21", " turned"),
        (sized, "L21", " resized"),
        (gated, "L21", " there when the bar goes their way"),
        (busy_days, "L21", " there by the bar's volume"),
        (limit_at_the_close, "L23", "there or not by the close of their own bar"),
        (better_of_both, "L22", "takes the open or another price of the same bar, by how it goes on"),
    ],
)  # fmt: skip
def test_orders_at_the_open_that_know_their_bar(change, leak, note):
    # The decision dates are those of the evening before: only the experiment tells.
    book = from_book(at_open(change), PANEL, name="book")
    r = AtTheOpen(book.run, PANEL, book.base)(Stream(0))
    (f,) = r.findings
    assert (r.status, f.leak, f.where) == ("LEAK", leak, "book.at the open")
    assert (f.probe, f.of, f.reach) == ("P9", "fills", None)
    assert note in f.note
    assert 0 < f.hits <= f.tried
    assert leak in found(audit(book))


def waits(panel, t, n, side):
    """A limit a tick off the last close, on a grid of ticks: filled through it, or at the open where that is better.

    Prices are on the same grid, so that some limits meet an open by chance; those fill when the bar trades through.
    """
    o, low, high = (np.round(panel.fields[k][t, n], 1) for k in ("open", "low", "high"))
    limit = np.round(pd.DataFrame(panel.fields["close"]).ffill().to_numpy()[t - 1, n], 1) - 0.1 * side
    through = np.where(side > 0, low < limit - 0.01, high > limit + 0.01)
    price = np.where(side > 0, np.minimum(o, limit), np.maximum(o, limit))
    return {"keep": through | (side * (limit - o) > 0.01), "price": price}


def on_ticks(panel):
    """The same panel with prices on a grid of 0.1."""
    return panel.replace(fields={k: np.round(v, 1) if k in ("open", "high", "low", "close") else v
                                 for k, v in panel.fields.items()})  # fmt: skip


def capped(panel, t, n, side):
    return {"shares": np.minimum(1e5, np.nan_to_num(np.floor(0.1 * panel.fields["volume"][t, n])))}


def locked(panel, t, n, side):
    return {"keep": panel.fields["high"][t, n] > panel.fields["low"][t, n]}


@pytest.mark.parametrize(
    "change",
    [
        lambda p, t, n, side: {"shares": np.floor(10_000 / np.nan_to_num(p.fields["open"][t, n], nan=1.0))},
        lambda p, t, n, side: {"keep": side * (p.fields["open"][t, n] / p.fields["close"][t - 1, n] - 1) < 0},
        lambda p, t, n, side: {"price": p.fields["close"][t, n]},
        lambda p, t, n, side: {"price": p.fields["open"][t, n] * (1 + 0.001 * side)},
        waits, capped, locked,
    ],
    ids=["sized by the open", "gap", "close", "slippage", "limit on ticks", "volume cap", "one price"],
)  # fmt: skip
def test_honest_habits_pass(change):
    panel = on_ticks(PANEL) if change in (waits, locked) else PANEL
    if change is locked:
        fields = {k: v.copy() for k, v in panel.fields.items()}
        for k in ("high", "low", "close"):
            fields[k][::3, ::2] = fields["open"][::3, ::2]
        panel = panel.replace(fields=fields)
    report = audit(from_book(at_open(change), panel, name="habit"))
    assert report.findings == ()
    assert report.exit_code == 0
    if change is capped:
        assert opening(report).detail.endswith("follow the volume of their own bar: a cap, not counted")


def test_orders_that_met_the_open_by_chance_are_followed_up():
    report = audit(from_book(at_open(waits), on_ticks(PANEL), name="ticks"), seed=1)
    assert report.findings == ()
    assert "did not follow the open, and are not counted" in opening(report).detail


def test_slippage_is_seen_through_when_it_is_said():
    def change(panel, t, n, side):
        side = np.where(rises(panel, t, n), 1, -1)
        return {"side": side, "price": panel.fields["open"][t, n] * (1 + 0.001 * side)}

    blind = audit(from_book(at_open(change), PANEL, name="book"))
    assert opening(blind).detail == "no fill at the open itself"
    assert found(audit(from_book(at_open(change), PANEL, slippage=0.001, name="book")))["L21"].where == (
        "book.at the open"
    )
    honest = at_open(lambda p, t, n, side: {"price": p.fields["open"][t, n] * (1 + 0.001 * side)})
    report = audit(from_book(honest, PANEL, slippage=0.001))
    assert (report.exit_code, opening(report).status) == (0, "ok")


def test_the_next_bar_in_a_decision_is_a_matter_of_cuts():
    def book(panel):
        close = pd.DataFrame(panel.fields["close"])
        ahead = close.pct_change(fill_method=None).shift(-1).to_numpy()
        t, n = np.nonzero(np.abs(ahead) > 0.02)
        side = np.where(ahead[t, n] > 0, "buy", "sell")
        made = {"date": panel.sessions[t], "symbol": np.array(panel.symbols)[n], "side": side, "shares": 100}
        return pd.DataFrame(made | {"price": close.to_numpy()[t, n]}).dropna()

    f = found(audit(from_book(book, PANEL, name="book")))["L01"]
    assert (f.where, f.reach, f.probe) == ("book.position", 1, "P2")


def survivors_only(panel, places):
    """Names that end above 0.9 of their first price; ``places``: the ranks are taken among them."""
    price = pd.DataFrame(panel.fields["close"] * panel.fields["factor"])
    alive = price.ffill().iloc[-1] > 0.9 * price.bfill().iloc[0]
    t, n, side = wishes(panel, alive if places else None)
    keep = alive.to_numpy()[n] & np.isfinite(panel.fields["open"][t + 1, n])
    t, n, side = t[keep], n[keep], side[keep]
    made = {"date": panel.sessions[t + 1], "symbol": np.array(panel.symbols)[n], "side": np.where(side > 0, "b", "s")}
    return pd.DataFrame(made | {"shares": 100, "price": panel.fields["open"][t + 1, n]})


@pytest.mark.parametrize("places", [False, True])
def test_names_that_live_on(places):
    report = audit(from_book(lambda panel: survivors_only(panel, places), PANEL, name="book"))
    f = found(report)["L24"]
    assert (f.where, f.probe, f.of) == ("book.names", "P1", "names")
    assert " when " in f.note
    assert f.note.endswith(" as the bars are")


def test_statistics_of_the_whole_sample_are_no_list_of_survivors():
    def book(panel):
        price = pd.DataFrame(panel.fields["close"])
        z = ((price - price.mean()) / price.std()).to_numpy()
        t, n = np.nonzero((np.abs(z) > 1) & (np.arange(len(z))[:, None] < len(z) - 1))
        made = {"date": panel.sessions[t + 1], "symbol": np.array(panel.symbols)[n], "shares": 100}
        made |= {"side": np.where(z[t, n] > 0, "s", "b"), "price": panel.fields["open"][t + 1, n]}
        return pd.DataFrame(made).dropna()

    report = audit(from_book(book, PANEL, name="book"))
    assert set(found(report)) == {"L04"}


def test_names_listed_to_the_end_are_told_apart_by_names_that_die_later():
    # No name dies in these bars: only a future in which some do shows the list.
    def book(panel):
        made = at_open()(panel)
        return made[made["symbol"].isin(np.array(panel.symbols)[panel.listed[-1]])]

    assert PANEL.listed[-1].all()
    report = audit(from_book(book, PANEL, name="book"))
    f = found(report)["L24"]
    assert (f.hits, f.tried) == (16, 16)
    assert "fills before" in f.note
    assert " when names die later, " in f.note


def test_a_book_that_ends_flat_or_stops_early_is_honest():
    def closes_all(panel):
        made = at_open()(panel)
        made = made[made["date"] < panel.sessions[-1]]
        signed = np.where(made["side"] == "buy", made["shares"], -made["shares"])
        held = pd.Series(signed).groupby(made["symbol"].to_numpy()).sum()
        last = pd.Series(panel.fields["close"][-1], panel.symbols).reindex(held.index)
        end = pd.DataFrame({
            "date": panel.sessions[-1], "symbol": held.index, "side": np.where(held > 0, "sell", "buy"),
            "shares": np.abs(held.to_numpy()), "price": last.to_numpy(), "decided": panel.sessions[-2],
        })  # fmt: skip
        return pd.concat([made, end[end["shares"] > 0].dropna()])

    def stops(panel):
        made = at_open()(panel)
        return made[made["date"] < panel.sessions[-1]]

    for book in (closes_all, stops):
        report = audit(from_book(book, PANEL, name="book"))
        assert (report.exit_code, report.findings) == (0, ())


def test_a_book_of_its_own_data_is_no_clean_book():
    table = at_open()(PANEL)
    report = audit(from_book(lambda panel: table, PANEL, name="frozen"))
    assert report.exit_code == 5
    assert (
        "P2 frozen: its fills do not move with the bars: it reads data of its own, and cannot be shown another future"
        in report.verdict
    )


def test_a_long_frame_an_empty_table_and_ready_fills():
    def long(frame):
        close = frame["close"].unstack()
        past = close.pct_change(3, fill_method=None).shift()
        open_ = frame["open"].unstack()
        made = pd.DataFrame({"shares": -np.sign(past.stack()), "price": open_.stack()}).dropna()
        return made[made["shares"] != 0].reset_index()

    report = audit(from_book(long, PANEL, gets="long"))
    assert (report.exit_code, opening(report).status) == (0, "ok")
    assert long_frame(PANEL).shape == (PANEL.shape[0] * PANEL.shape[1], len(PANEL.fields))

    empty = audit(from_book(lambda panel: at_open()(panel).head(0), PANEL, name="empty"))
    assert empty.findings == ()

    ready = from_book(lambda panel: from_book(at_open(), panel).run(panel), PANEL, name="ready")
    assert isinstance(ready.base, Fills)
    assert audit(ready).exit_code == 0


@pytest.mark.parametrize(("fill", "same_bar"), [("next_open", False), ("next_close", False), ("next_open", True)])
def test_an_exchange_that_keeps_the_rules_and_one_that_fills_in_the_deciding_bar(fill, same_bar):
    def book(panel):
        values, decided = np.zeros(panel.shape), np.zeros(panel.shape[0], bool)
        past = np.full(panel.shape, -np.inf)
        past[1:] = np.nan_to_num(panel.view("close")[1:] / panel.view("close")[:-1], nan=-np.inf)
        for t in range(5, panel.shape[0] - 1, 2):
            values[t, np.argsort(-past[t], kind="stable")[:4]] = 0.25
            decided[t] = True
        sim = simulate(panel, Weights("winners", values, decided), fill=fill, same_bar=same_bar)
        return sim.fills.table(panel).drop("decided", strict=False)

    report = audit(from_book(book, on_ticks(PANEL), name="exchange"))
    if same_bar:
        assert "L21" in found(report)
        assert found(report)["L21"].where == "exchange.at the open"
    else:
        assert (report.findings, report.canary_caught) == ((), True)


def test_what_a_book_must_be():
    with pytest.raises(ConfigError, match=r"^audit: a book gets 'panel' or 'long', not 'wide'$"):
        from_book(at_open(), PANEL, gets="wide")
    with pytest.raises(ConfigError, match=r"^audit: level must be 'quick' or 'full', got 'all'$"):
        from_book(at_open(), PANEL, level="all")

    def broken(panel):
        raise KeyError("vwap")

    with pytest.raises(
        ConfigError, match=r"^audit: broken raised KeyError on the unchanged panel: 'vwap'; make it run there first$"
    ):
        audit(from_book(broken, PANEL))
    with pytest.raises(DataError, match=r"no column 'price'"):
        audit(from_book(lambda panel: at_open(columns=["price"])(panel), PANEL))


def test_a_large_panel_is_cut_down_and_said():
    wide = made_up_panel(120, 60, seed=1)
    book = from_book(at_open(), wide)
    assert (book.whole.shape, book.panel.shape) == ((120, 60), (120, 50))
    assert from_book(at_open(), wide, level="full").panel is wide
    assert any(n.startswith("what only the whole panel shows") for n in book.audit_targets().notes)
    assert from_book(at_open()).panel.shape == made_up_panel().shape


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, PANEL.shape[0] - 1), st.sampled_from(["mirror", "walk"]))
def test_another_bar_keeps_its_open_and_its_order(seed, row, kind):
    new = other_bar(PANEL, row, kind, Stream(seed))
    o, h, low, c = (new.fields[k][row] for k in ("open", "high", "low", "close"))
    np.testing.assert_array_equal(o, PANEL.fields["open"][row])
    known = np.isfinite(o)
    assert ((low <= np.minimum(o, c)) & (np.maximum(o, c) <= h))[known].all()
    for k, v in PANEL.fields.items():
        np.testing.assert_array_equal(np.isnan(new.fields[k]), np.isnan(v))
        np.testing.assert_array_equal(np.delete(new.fields[k], row, 0), np.delete(v, row, 0))
    was = (PANEL.fields["close"][row] / o)[known]
    if kind == "mirror":
        np.testing.assert_allclose((c / o)[known] * was, 1.0, rtol=1e-12)
    elif row > 60:
        assert (c[known] != PANEL.fields["close"][row][known]).all()


def test_names_die_later_and_their_past_stays():
    dead = np.arange(16) < 8
    new = fated(PANEL, 100, dead)
    for k, v in PANEL.fields.items():
        np.testing.assert_array_equal(new.fields[k][:101], v[:101])
    for m in MASKS:
        np.testing.assert_array_equal(getattr(new, m)[:101], getattr(PANEL, m)[:101])
    assert not new.listed[-1, dead].any()
    assert new.listed[-1, ~dead].all()
    assert np.isnan(new.fields["close"][-1, dead]).all()
    close = new.fields["close"] / PANEL.fields["close"]
    np.testing.assert_allclose(close[-1, ~dead], 10.0)
