"""The straight line in order: settings to folds, fits, forecasts, books, audit, report and run folder."""

from hitherto.study.core import Fit, Prepared, Study, admitted, bars, forecasts_of

__all__ = ["Fit", "Prepared", "Study", "admitted", "bars", "forecasts_of"]
