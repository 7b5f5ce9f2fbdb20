"""What a leak was worth: tomorrow's return has a RankIC of 1 and nothing one bar later; an honest column has none."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from hitherto.audit import audit, from_function
from hitherto.audit.adapters import made_up_panel
from hitherto.audit.effect import Worth, worth

PANEL = made_up_panel(rows=300, listings=20, seed=1)
CLOSE = PANEL.view("close")


def tomorrow():
    out = np.full(PANEL.shape, np.nan)
    out[:-1] = CLOSE[1:] / CLOSE[:-1] - 1
    return out


def test_the_next_return_is_worth_everything_and_late_nothing():
    """290 dates of 20 names: a mean of independent rank correlations has deviation 0.014, five of them 0.07."""
    got = worth(tomorrow(), PANEL, 1)
    assert got.ic == pytest.approx(1, abs=1e-9)
    assert abs(got.late_ic) < 0.07
    assert got.sharpe > 40
    assert abs(got.late_sharpe) < 4.5


def test_the_ic_is_the_mean_of_spearmans_correlations():
    r = tomorrow()
    numbers = np.where(np.isfinite(r), np.random.default_rng(0).normal(size=PANEL.shape), np.nan)
    both = [np.isfinite(x) & np.isfinite(y) for x, y in zip(numbers, r, strict=True)]
    each = [spearmanr(x[b], y[b])[0] for x, y, b in zip(numbers, r, both, strict=True) if b.sum() >= 5]
    assert worth(numbers, PANEL, 3).ic == pytest.approx(np.mean(each), abs=1e-12)


def test_what_cannot_be_measured_is_none():
    assert worth(np.full(PANEL.shape, np.nan), PANEL, 1) is None
    assert worth(tomorrow(), PANEL, 400) is None


def test_the_line_says_it_without_a_minus_zero():
    assert str(Worth(0.58, -0.0001, 45.84, -0.04)) == (
        "worth a daily RankIC of 0.580 and a Sharpe ratio of 45.8; 0.000 and 0.0 when delayed by its reach"
    )


def test_a_finding_of_the_audit_carries_it():
    def centred(frame):
        return frame["close"].rolling(5, center=True).mean() / frame["close"]

    (found,) = audit(from_function(centred), PANEL).findings
    assert found.reach == 2
    assert found.worth.ic > 0.3
    assert abs(found.worth.late_ic) < 0.07
    assert found.line().endswith(f"(reads the future of close; {found.worth})")
