"""Truth worlds: a planted non-linear edge only the LSTM sees, a linear one where ridge is not beaten, and noise."""

import numpy as np
import pytest
from worlds import out_of_sample, study_of

from hitherto.evaluate.inference import nonoverlapping_t, paired_difference
from hitherto.market import synthetic
from hitherto.models.recurrent import LSTM


def test_the_lstm_sees_what_ridge_and_trees_cannot():
    toy = synthetic.nonlinear(0, bars=1500, symbols=30)
    lstm = LSTM(hidden=32, lookback=20, epochs=12, batch=512, patience=4, learning_rate=3e-3)
    seen = out_of_sample(study_of(toy, [lstm]))
    ours = seen["lstm"].ic.interval
    for rival in ("ridge", "lightgbm"):
        theirs = seen[rival].ic.interval
        assert theirs is None or ours.lo > theirs.hi, f"{ours} against {rival} {theirs}"
    assert ours.lo > 0.1


def test_on_a_linear_market_ridge_is_not_beaten():
    toy = synthetic.linear(0, bars=1500, symbols=30, strength=0.15)
    lstm = LSTM(hidden=16, lookback=10, epochs=5, batch=512, patience=2)
    seen = out_of_sample(study_of(toy, [lstm]))
    assert seen["ridge"].ic.interval.lo > 0
    ridge = seen["ridge"].daily_ic
    for rival in ("lstm", "lightgbm"):
        both = np.isfinite(ridge) & np.isfinite(seen[rival].daily_ic)
        gain = paired_difference(seen[rival].daily_ic[both], ridge[both], np.random.default_rng(0))
        assert gain.lo <= 0, f"{rival} beats ridge by {gain}"


def noise_t(seed: int) -> float:
    """The t-statistic of the daily RankIC of a small LSTM on random walks."""
    toy = synthetic.noise(seed, bars=500, symbols=15)
    lstm = LSTM(hidden=8, lookback=5, epochs=2, batch=512)
    study = study_of(toy, [lstm], seed, split={"train": 240, "valid": 60, "test": 120, "folds": 1})
    daily = out_of_sample(study)["lstm"].daily_rank_ic
    return nonoverlapping_t(daily[np.isfinite(daily)], 1).t


def test_noise_is_called_noise():
    # |t| > 1.96 comes with probability 0.053 (t with 119 degrees of freedom); five or more of 20: 0.0033.
    assert sum(abs(noise_t(seed)) > 1.96 for seed in range(20)) <= 4


@pytest.mark.slow
def test_noise_is_called_noise_over_200_seeds():
    # 1 % to 10 % of 200 is 2..20; Binomial(200, 0.053) leaves it with probability 0.0036 (0.0002 below, 0.0034 above).
    assert 2 <= sum(abs(noise_t(seed)) > 1.96 for seed in range(200)) <= 20
