"""What a Sharpe ratio is worth after a search: expected best of many, probabilistic and deflated Sharpe ratio.

Sharpe ratios are per period unless a name says yearly, kurtosis is not in excess (3 for a normal), and all formulas
hold for independent periods: dependence in time wants the intervals of ``evaluate.inference`` beside them. Sources:
Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 2012 (PSR, track record);
the same, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014; Bailey, Borwein, Lopez de Prado
and Zhu, "Pseudo-Mathematics and Financial Charlatanism", Notices of the AMS 61(5), 2014 (backtest length).
"""

from __future__ import annotations

import math

from hitherto.errors import ConfigError

EULER = 0.5772156649015329  # Euler and Mascheroni's constant


def expected_best(trials: int) -> float:
    """Return E[max] of ``trials`` independent standard normal draws: the Sharpe that luck shows, in units of its
    standard error.

    0 for one trial. From extreme value theory (Deflated Sharpe Ratio, equation 1): a little below the exact mean for
    few trials (.520 for .564 at two). ConfigError below one trial.
    """
    from scipy.special import ndtri

    if not trials >= 1:
        raise ConfigError(f"expected best: {trials} trials make no best one; count those that were tried, from 1")
    if trials == 1:
        return 0.0
    return float((1 - EULER) * -ndtri(1 / trials) + EULER * -ndtri(1 / (trials * math.e)))


def probabilistic_sharpe(
    sharpe: float, length: int, against: float = 0.0, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Return the probabilistic Sharpe ratio in [0, 1]: the confidence that the true one is above ``against``.

    sharpe, against: per period. length: periods. kurtosis: not in excess. NaN when the moments leave no variance
    (impossible moments, or a series of two values), when a number is NaN, or for fewer than two periods. Source: Sharpe
    Ratio Efficient Frontier, equation 11.
    """
    from scipy.special import ndtr

    spread = _spread(sharpe, skew, kurtosis)
    if not spread > 0 or length < 2:
        return float("nan")
    return float(ndtr((sharpe - against) * math.sqrt(length - 1) / math.sqrt(spread)))


def deflated_sharpe(
    sharpe: float, length: int, trials: int, variance: float, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Return the deflated Sharpe ratio in [0, 1]: P(true Sharpe > 0) given that the best of ``trials`` was taken.

    sharpe: per period, of the best. length: periods. variance: of the trials' Sharpe ratios per period. kurtosis: not
    in excess (3 for a normal). It is strict: worthless independent trials pass .95 far less often than in 5 % of the
    searches. NaN as in ``probabilistic_sharpe``; ConfigError for a negative variance.
    """
    if variance < 0:
        raise ConfigError(f"deflated Sharpe: a variance of {variance:g}; give that of the trials' Sharpe ratios")
    return probabilistic_sharpe(sharpe, length, math.sqrt(variance) * expected_best(trials), skew, kurtosis)


def min_track_record(
    sharpe: float, against: float = 0.0, skew: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float:
    """Return how many periods of this Sharpe ratio make ``probabilistic_sharpe`` reach ``confidence`` (.5..1).

    In periods, a float: round up. inf when sharpe is not above ``against``; NaN when the moments leave no variance.
    Source: Sharpe Ratio Efficient Frontier, equation 13.
    """
    from scipy.special import ndtri

    if not 0.5 <= confidence < 1:
        raise ConfigError(f"track record: confidence must lie in 0.5..1, got {confidence:g}")
    spread = _spread(sharpe, skew, kurtosis)
    if not spread > 0 or math.isnan(against):
        return float("nan")
    if sharpe <= against:
        return float("inf")
    return 1.0 + spread * (float(ndtri(confidence)) / (sharpe - against)) ** 2


def min_backtest_years(trials: int, sharpe: float = 1.0) -> float:
    """Return the years below which the best of ``trials`` worthless trials is expected to show a yearly ``sharpe``.

    (E[max] / sharpe)^2, for independent trials. ConfigError for a Sharpe ratio that is not above 0. Source:
    Pseudo-Mathematics, theorem 1.
    """
    if not sharpe > 0:
        raise ConfigError(f"backtest length: the yearly Sharpe ratio must be above 0, got {sharpe:g}")
    return (expected_best(trials) / sharpe) ** 2


def _spread(sharpe: float, skew: float, kurtosis: float) -> float:
    """Return length times the variance of the estimated Sharpe ratio."""
    return 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe * sharpe
