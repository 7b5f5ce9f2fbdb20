"""Markets with a known truth, put through a whole study (features, folds, fits, out-of-sample IC)."""

from hitherto.evaluate.forecast import ForecastSummary, summarise
from hitherto.market.synthetic import Toy
from hitherto.models.base import Context
from hitherto.panel import from_bars
from hitherto.seeds import Stream
from hitherto.study import Study, forecasts_of


def study_of(toy: Toy, models: list, seed: int = 0, **tables) -> Study:
    """A one-fold study of a toy market on the inputs from which its truth can be learnt."""
    expressions = {f"x{i}": text for i, text in enumerate(toy.inputs)}
    features = {"expressions": expressions, "normalise": "robust_zscore", "limit": 5.0}
    split = {"train": "3y", "valid": "1y", "test": "1y", "folds": 1, "mode": "rolling"}
    settings = {"features": features, "split": split, "label": {"horizons": [1]}, "seed": seed, **tables}
    return Study(from_bars(toy.bars), models=models, **settings)


def out_of_sample(study: Study, threads: int = 2) -> dict[str, ForecastSummary]:
    """Model name -> its out-of-sample summary, rivals included."""
    prepared = study.prepare()
    fits = study.fit_all(prepared, lambda job: Context(threads=threads))
    forecasts = forecasts_of(fits, prepared.panel.shape, prepared.label.names)
    rng = Stream(study.settings.seed, "evaluate")
    return {f.model: summarise(f, prepared.label, 0, rng=rng.child(f.model)) for f in forecasts}
