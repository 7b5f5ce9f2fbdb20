"""Markets with a known truth, put through a whole study (features, folds, fits, out-of-sample IC)."""

import numpy as np

from hitherto.evaluate.forecast import ForecastSummary, daily_ics, summarise
from hitherto.evaluate.inference import nonoverlapping_t
from hitherto.market.synthetic import Toy
from hitherto.models.base import Context, Forecast
from hitherto.panel import from_bars
from hitherto.seeds import Stream
from hitherto.study import Study, forecasts_of
from hitherto.study.core import Prepared


def study_of(toy: Toy, models: list, seed: int = 0, **tables) -> Study:
    """A one-fold study of a toy market on the inputs from which its truth can be learnt."""
    expressions = {f"x{i}": text for i, text in enumerate(toy.inputs)}
    features = {"expressions": expressions, "normalise": "robust_zscore", "limit": 5.0}
    split = {"train": "3y", "valid": "1y", "test": "1y", "folds": 1, "mode": "rolling"}
    settings = {"features": features, "split": split, "label": {"horizons": [1]}, "seed": seed, **tables}
    return Study(from_bars(toy.bars), models=models, **settings)


def forecasts(study: Study, threads: int = 1) -> tuple[Prepared, list[Forecast]]:
    """The prepared study, and the out-of-sample forecasts of all its models, rivals included."""
    prepared = study.prepare()
    fits = study.fit_all(prepared, lambda job: Context(threads=threads))
    return prepared, forecasts_of(fits, prepared.panel.shape, prepared.label.names)


def out_of_sample(study: Study, threads: int = 1) -> dict[str, ForecastSummary]:
    """Model name -> its out-of-sample summary, rivals included."""
    prepared, made = forecasts(study, threads)
    rng = Stream(study.settings.seed, "evaluate")
    return {f.model: summarise(f, prepared.label, 0, rng=rng.child(f.model)) for f in made}


def rank_ic_t(study: Study) -> dict[str, float | None]:
    """Model name -> t-statistic of its daily RankIC, None where it forecasts one number for all stocks of a date."""
    prepared, made = forecasts(study)
    out = {}
    for f in made:
        daily = daily_ics(f.values[..., 0], prepared.label.values[..., 0])[1]
        daily = daily[np.isfinite(daily)]
        out[f.model] = nonoverlapping_t(daily, 1).t if len(daily) > 2 and np.ptp(daily) > 0 else None
    return out
