"""P11: reads of one test stretch, and what a search's best trial is worth."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitherto.audit.probes import reads
from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.trials import Read
from hitherto.sharpe import expected_best


class Ledger:
    """Reads in memory, as a trial ledger hands them out."""

    def __init__(self):
        self.path = Path("reads.sqlite")
        self.kept = []

    def record(self, study, data):
        self.kept.append(Read(study, data, "2019-01-02", "2020-12-31", "2026-11-21T12:00:00+00:00"))

    def entries(self):
        return tuple(self.kept)


@pytest.fixture
def ledger():
    return Ledger()


def test_without_a_ledger_nothing_is_assessed(ledger):
    for result in (reads.probe(None), reads.probe(ledger), reads.probe([])):
        assert (result.probe, result.status, result.findings) == ("P11", "not assessed", ())
    assert reads.probe(None).detail == "no ledger of test reads and no trials were given"
    assert reads.probe(ledger).detail == "the ledger holds no read of this test data"


def test_reads_may_be_given_as_pairs_of_digests():
    pairs = [("s1", "d1"), ("s2", "d1"), ("s1", "d1"), ("s9", "d2")]
    result = reads.probe(pairs)
    assert (result.status, result.target) == ("LEAK", "test reads")
    assert result.detail.startswith("2 distinct studies in 3 reads of the same test data; ")
    assert reads.probe(pairs, data="d2").status == "ok"


@pytest.mark.parametrize("pair", [("", "d1"), ("s1", ""), ("s1",), "sd"])
def test_a_read_without_digests_is_refused(pair):
    with pytest.raises(ConfigError) as e:
        reads.probe([("s1", "d1"), pair])
    assert str(e.value) == f"test reads: read 1 is {pair!r}; give the digests of study and data, both not empty"


def test_one_study_may_read_again(ledger):
    for _ in range(3):
        ledger.record("s1", "d1")
    ledger.record("s2", "d2")  # other data
    result = reads.probe(ledger, data="d1")
    assert (result.status, result.findings) == ("ok", ())
    assert result.detail == "1 distinct study in 3 reads of the same test data"


def test_a_second_study_on_the_same_test_data_is_named(ledger):
    for study in ("s1", "s2", "s1", "s3"):
        ledger.record(study, "d1")
    ledger.record("s9", "d2")
    result = reads.probe(ledger, days=1260)
    (found,) = result.findings
    assert (result.status, found.leak, found.hits, found.tried, found.of) == ("LEAK", "L19", 3, 3, "studies")
    # 3 noise trials over 5 years: 0.8548 standard errors of 1 / sqrt(5) each, by equation 1.
    assert result.detail == (
        "3 distinct studies in 4 reads of the same test data; the best of 3 noise trials would show a Sharpe ratio of "
        f"{expected_best(3) * math.sqrt(252 / 1260):.2f} over 1260 periods"
    )


def test_trials_of_noise_do_not_pass_and_one_with_an_edge_does():
    # The best of 40 noise trials has a deflated ratio near 0.5; above 0.95 in fewer than 5 % of seeds, and this is one
    # fixed seed.
    noise = 0.01 * np.random.default_rng(4).standard_normal((750, 40))
    result = reads.probe(None, noise)
    (found,) = result.findings
    assert (result.status, found.leak, found.hits, found.of) == ("LEAK", "L19", 40, "trials")
    assert found.note.startswith("best of 40 trials: Sharpe ")
    # A Sharpe of 4.8 a year over 3 years is 8 standard errors; luck among 40 is 2.2.
    skilled = noise.copy()
    skilled[:, 7] += 0.003
    d = reads.deflated(skilled)
    assert (d.best, d.trials) == (7, 40)
    assert d.ratio > 0.95
    assert reads.probe(None, skilled).status == "ok"


def test_trials_that_resemble_each_other_count_as_noise_at_least():
    # 40 copies of one noise series differ by nothing: their own variance would excuse any search.
    one = 0.01 * np.random.default_rng(4).standard_normal((750, 1))
    d = reads.deflated(one + 1e-9 * np.random.default_rng(0).standard_normal((750, 40)))
    assert d.luck == pytest.approx(expected_best(40) / math.sqrt(750))


def test_an_edge_that_outlives_deflation_acquits_the_reads(ledger):
    for study in ("s1", "s2"):
        ledger.record(study, "d1")
    skilled = 0.01 * np.random.default_rng(4).standard_normal((750, 2)) + 0.003
    assert reads.probe(ledger, skilled).status == "ok"
    assert reads.probe(ledger, skilled - 0.003).status == "LEAK"


def test_one_trial_is_no_search():
    assert reads.probe(None, np.random.default_rng(0).standard_normal((100, 1))).status == "ok"


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(10, 60), st.integers(0, 1000), st.floats(0.1, 10))
def test_deflation_knows_no_order_and_no_scale(trials, length, seed, scale):
    r = np.random.default_rng(seed).standard_normal((length, trials))
    d, back = reads.deflated(r), reads.deflated(scale * r[:, ::-1])
    assert back.best == trials - 1 - d.best
    assert back.ratio == pytest.approx(d.ratio, abs=1e-9)
    assert 0 <= d.ratio <= 1


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        (np.zeros(5), "trial returns: shape (5,); give (T, N): one row per period, one column per trial"),
        (
            np.array([[0.1, 0.2], [0.2, np.nan], [0.1, 0.3]]),
            "trial returns: row 1, trial 1 is nan; give every trial's return in every period",
        ),
        (
            np.array([[0.1, 0.2], [0.2, 0.2], [0.1, 0.2]]),
            "trial returns: trial 1 is constant and has no Sharpe ratio; leave it out",
        ),
    ],
)
def test_bad_trials_are_refused(trials, says):
    with pytest.raises(DataError) as e:
        reads.deflated(trials)
    assert str(e.value) == says
