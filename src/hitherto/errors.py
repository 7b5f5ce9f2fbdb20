"""Every error says what was asked, what was known, and what to do. One tree, so that a caller can catch it all."""

from __future__ import annotations


class HithertoError(Exception):
    """Root of every error that hitherto raises on purpose; ``exit_code`` is what the command line returns for it."""

    exit_code = 4


class ConfigError(HithertoError):
    """A study file, an option or an argument is wrong."""

    exit_code = 2


class MissingExtraError(ConfigError):
    """A feature needs an optional package; the message holds the one line that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an optional package: pip install "hitherto[{extra}]"')


class DataError(HithertoError):
    """The data are wrong or do not hold what was asked; names file, row, column and cure where they are known."""

    exit_code = 3


class FutureError(HithertoError):
    """Something asked for a value that was not known at its decision time."""

    exit_code = 2


class NotFittedError(HithertoError):
    """A fitted thing was used before it was fitted."""

    exit_code = 2
