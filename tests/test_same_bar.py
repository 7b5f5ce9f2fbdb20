"""The most common fault of a backtest: an order that fills in the bar whose close decided it. On noise its Sharpe ratio
is famous; it must appear only when asked for, be caught by the audit, and be gone one bar later."""

import dataclasses

import numpy as np
import pytest
from toys import make_panel

from hitherto.audit import audit
from hitherto.audit.probes import fills
from hitherto.audit.target import AuditPlan, Traded
from hitherto.errors import ConfigError
from hitherto.evaluate.performance import sharpe
from hitherto.exchange.simulate import SAME_BAR, Venue, simulate
from hitherto.exchange.step import Costs
from hitherto.portfolio.base import Weights

T, N = 1000, 20
SEEDS = range(10)


def noise(seed):
    """Random walks without drift: the open is the close before, the close 1 % of noise later."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (T, N)), axis=0))
    before = np.vstack([np.full((1, N), 100.0), close[:-1]])
    panel = make_panel(T=T, N=N, seed=seed)
    return panel.replace(fields={**panel.fields, "open": before, "close": close,
                                 "high": np.maximum(before, close), "low": np.minimum(before, close)})  # fmt: skip


def momentum(panel):
    """Hold the names that rose today, in equal parts."""
    rose = panel.fields["close"] > panel.fields["open"]
    count = np.maximum(rose.sum(axis=1, keepdims=True), 1)
    return Weights("momentum", np.where(rose, 1 / count, 0.0), np.ones(T, bool))


def ratio(panel, **options):
    return sharpe(simulate(panel, momentum(panel), fill="next_open", **options).returns, 252)


def test_the_famous_sharpe_needs_the_same_bar():
    """Known at the open, half of 20 names with half-normal gains of 0.8 % a day: a Sharpe ratio far above 20.

    One bar later the ratio over 4 years of noise is normal with deviation 0.5: ten of them all below 2.2 in size but
    with chance 10 x 1e-5.
    """
    for seed in SEEDS:
        panel = noise(seed)
        assert ratio(panel, same_bar=True) > 20
        assert abs(ratio(panel)) < 2.2
        assert abs(ratio(panel, delay=2)) < 2.2


def test_the_book_says_so_and_counts_from_the_second_bar():
    panel = noise(0)
    book = simulate(panel, momentum(panel), fill="next_open", same_bar=True)
    assert book.flags == (SAME_BAR,)
    assert np.array_equal(book.fills.decided, book.fills.t)
    assert book.fills.t.min() == 1  # no cash to trade before the first bar
    assert simulate(panel, momentum(panel), fill="next_open").flags == ()


def test_the_audit_flags_it_and_shows_what_is_left():
    panel = noise(1)
    book = simulate(panel, momentum(panel), fill="next_open", same_bar=True)
    later = simulate(panel, momentum(panel), fill="next_open")
    told = Traded("momentum", book.fills.decided, book.fills.t, sharpe(book.returns, 252), sharpe(later.returns, 252))
    report = audit(AuditPlan(panel, books=(told,)))
    assert report.exit_code == 1
    line = report.findings[0].line()
    assert line.startswith(
        f"LEAK L21 at momentum reach=+1 bar orders={len(book.fills.t)}/{len(book.fills.t)} evidence "
    )
    assert line.endswith("fix: fill at the next bar's open or close")
    honest = dataclasses.replace(told, decided=later.fills.decided, filled=later.fills.t)
    assert fills.probe(honest).status == "ok"
    assert fills.probe(dataclasses.replace(told, decided=[], filled=[])).status == "not assessed"


def test_one_early_order_among_many_is_enough():
    filled = np.arange(1, 101)
    decided = filled - 1
    decided[40] += 1
    got = fills.probe(Traded("book", decided, filled, 1.0, 0.5))
    assert (got.status, got.cuts) == ("LEAK", (1, 100))


def test_a_study_with_the_fault_ends_with_a_leak(tmp_path):
    from hitherto.study import Study
    from hitherto.study.auditing import plan

    settings = {
        "features": {"set": "close_only"}, "split": {"train": 150, "valid": 40, "test": 60, "folds": 1},
        "models": [{"kind": "ridge"}], "portfolio": [{"k": 3}], "report": {"null_books": 0},
    }  # fmt: skip
    panel = noise(2).rows(400)
    bad, good = (Study(panel, exchange={"fill": "next_open", "same_bar": on}, **settings) for on in (True, False))
    assert audit(plan(bad)).exit_code == 1
    assert any(f.leak == "L21" for f in audit(plan(bad)).findings)
    assert not any(f.leak == "L21" for f in audit(plan(good)).findings)
    result = bad.run(tmp_path / "run", progress="off")
    assert any(f.leak == "L21" and f.where == result.evaluation.main for f in result.audit.findings)


def test_same_bar_is_refused_where_it_says_nothing():
    with pytest.raises(
        ConfigError, match=r"^simulate: same_bar goes with fill 'next_open' or 'next_close'; same_close"
    ):
        Venue(noise(0), costs=Costs(), fill="same_close", same_bar=True)
