"""Canaries: leaks of shrinking size, planted into the user's own pipeline, which the same probes must catch.

A planted leak rides as one more column beside a real one, host(t) + strength x scale(host) x (return from t to t +
reach), so that it passes through the same panels, cuts, tolerances and comparisons at no further evaluation of the
target. ``PlantedInput`` goes further: it plants the leak into the prices that the target reads, so that the pipeline
itself carries it; that costs its own evaluations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.moves import BITS, compiled_pays, known
from hitherto.audit.probes import scale
from hitherto.audit.target import NET_RTOL, Target, Unit, columns
from hitherto.audit.verdict import CanaryResult, ProbeResult
from hitherto.panel import PRICES, Mask, Panel
from hitherto.seeds import Stream


@dataclass(frozen=True)
class Leak:
    """A leak of ``reach`` bars, ``strength`` in units of the host column's scale, in a ``share`` of the cells."""

    reach: int = 1
    strength: float = 1.0
    share: float = 1.0

    @property
    def essential(self) -> bool:
        """The plain one-bar leak: when it escapes, the audit is blind."""
        return (self.reach, self.strength, self.share) == (1, 1.0, 1.0)

    def __str__(self) -> str:
        where = "" if self.share == 1 else f" in {self.share:.0%} of the cells"
        return f"reach +{self.reach} at {self.strength:g} of scale{where}"


LADDER = (
    Leak(20), Leak(5), Leak(1), Leak(1, 1e-2), Leak(1, 1e-4), Leak(1, 1e-6), Leak(1, 1e-9), Leak(1, 1e-12),
    Leak(1, 1.0, 0.3), Leak(1, 1.0, 0.1), Leak(1, 1.0, 0.03), Leak(1, 1.0, 0.01),
)  # fmt: skip
WHOLE_SAMPLE = "canary: scaled over all rows"


class Planted:
    """A target with the ladder of leaks as further columns; the first panel it runs on must be the unchanged one."""

    def __init__(self, inner: Target, rng: Stream, leaks: Iterable[Leak] = LADDER, whole_sample: bool = False) -> None:
        self.inner = inner
        self.name, self.exact = inner.name, inner.exact
        self.unit: Unit = inner.unit
        self.shape_rtol = float(getattr(inner, "shape_rtol", 0.0))
        self.rtol = float(getattr(inner, "rtol", NET_RTOL))
        self.leaks = {f"canary: {leak}": leak for leak in leaks}
        self.whole_sample = whole_sample
        self.planted = frozenset([*self.leaks, *([WHOLE_SAMPLE] if whole_sample else [])])
        self._rng = rng
        self.live: Mask | None = None  # (T, N) where the first panel met had a real number
        self._fixed: tuple[str, float, float, float] | None = None
        self._draw: NDArray[np.float64] = np.zeros((0, 0))

    @property
    def host(self) -> str | None:
        """The real column beside which the leaks are planted; None before the first run."""
        return None if self._fixed is None else self._fixed[0]

    def run(self, panel: Panel, /) -> dict[str, NDArray[Any]]:
        """Return the real columns and the planted ones."""
        out = columns(self.inner.run(panel), panel, self.name)
        if not out:
            return out
        if self._fixed is None:
            count, self.live = known(out, panel.shape)
            host = max(out, key=lambda n: count[n])
            spread = scale(future_return(panel, 1))
            self._fixed = (host, scale(out[host]), spread, volatility(panel) if self.whole_sample else 1.0)
            self._draw = self._rng.numpy("shares").random(panel.shape)  # one: a smaller share lies inside a larger one
        host, size, spread, usual = self._fixed
        values, draw = out[host], self._draw[: panel.shape[0], : panel.shape[1]]
        pays = self.leaks and values.dtype in BITS and compiled_pays(values.size * len(self.leaks))
        plant = _compiled if pays and draw.shape == panel.shape else _planted
        made = plant(values, panel, self.leaks, size / spread, draw)
        if self.whole_sample:
            made[WHOLE_SAMPLE] = (values + size * (volatility(panel) / usual - 1.0)).astype(values.dtype)
        return {**out, **made}


def _planted(
    host: NDArray[Any], panel: Panel, leaks: Mapping[str, Leak], ratio: float, draw: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Name -> host with the leak; the plain twin of the compiled one."""
    ahead = {r: np.nan_to_num(future_return(panel, r) * ratio) for r in {leak.reach for leak in leaks.values()}}
    out = {}
    for name, leak in leaks.items():
        part = leak.strength * ahead[leak.reach]
        if leak.share < 1:
            part = part * (draw < leak.share)
        out[name] = (host + part).astype(host.dtype, copy=False)
    return out


def _compiled(
    host: NDArray[Any], panel: Panel, leaks: Mapping[str, Leak], ratio: float, draw: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Name -> host with the leak, (T, N) views of one (T, N, L) array."""
    from hitherto.audit.kernels import plant

    reaches = sorted({leak.reach for leak in leaks.values()})
    which = np.array([reaches.index(leak.reach) for leak in leaks.values()])
    strength, share = (np.array([float(getattr(x, a)) for x in leaks.values()]) for a in ("strength", "share"))
    out = np.empty((*panel.shape, len(leaks)), host.dtype)
    host, lead, draw = (_read_only(x) for x in (host, _lead(panel), draw))
    plant(host, lead, np.array(reaches), ratio, which, strength, share, draw, out)
    return {name: out[:, :, k] for k, name in enumerate(leaks)}


def _read_only(values: NDArray[Any]) -> NDArray[Any]:
    """C-ordered and read-only, as a panel's fields are: compiled code is one for each kind of array."""
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


class PlantedInput:
    """A target that is fed prices which already know a share of the return ``reach`` bars ahead."""

    def __init__(self, inner: Target, reach: int = 1, strength: float = 1.0) -> None:
        self.inner = inner
        self.name, self.exact = inner.name, inner.exact
        self.unit: Unit = inner.unit
        self.shape_rtol = float(getattr(inner, "shape_rtol", 0.0))
        self.rtol = float(getattr(inner, "rtol", NET_RTOL))
        self.reach, self.strength = reach, strength

    def run(self, panel: Panel, /) -> dict[str, NDArray[Any]]:
        """Return the columns of the target on the leaking prices."""
        ahead = 1.0 + self.strength * np.nan_to_num(future_return(panel, self.reach))
        fields = {k: v * ahead if k in PRICES else v for k, v in panel.fields.items()}
        return columns(self.inner.run(panel.replace(fields=fields)), panel, self.name)


def future_return(panel: Panel, reach: int) -> NDArray[np.float64]:
    """Return (T, N) float64: the lead price's return from t to t + reach; NaN where either end is unknown."""
    values = _lead(panel)
    out = np.full(values.shape, np.nan)
    if 0 < reach < len(values):
        with np.errstate(divide="ignore", invalid="ignore"):
            r = values[reach:] / values[:-reach] - 1.0
        out[:-reach] = np.where(np.isfinite(r), r, np.nan)
    return out


def _lead(panel: Panel) -> NDArray[np.float64]:
    return panel.view("close" if "close" in panel.fields else next(iter(panel.fields)))


def volatility(panel: Panel) -> float:
    """Return the standard deviation of all one-bar returns of the panel: a whole-sample statistic."""
    return scale(future_return(panel, 1))


def read(target: Planted, results: Iterable[ProbeResult]) -> tuple[CanaryResult, ...]:
    """Return for each planted leak, largest first, whether one of these results caught it.

    Nothing when the host column leaks by itself: what moves there proves nothing about the planted part.
    """
    out = []
    results = list(results)
    if target.host is None or any(r.hits.get(target.host, (0, 0))[0] > 0 for r in results):
        return ()
    names: list[tuple[str, str, bool, tuple[float, float] | None]] = [
        (n, str(leak), leak.essential, (leak.strength, leak.share)) for n, leak in target.leaks.items()
    ]
    if target.whole_sample:
        names.append((WHOLE_SAMPLE, "a scale over all rows", True, None))
    for name, words, essential, size in names:
        by = tuple(r.probe for r in results if r.hits.get(name, (0, 0))[0] > 0 and r.probe != "P0")
        best = max((r.hits[name] for r in results if name in r.hits and r.probe != "P0"), default=(0, 0))
        out.append(CanaryResult(target.name, words, bool(by), by, essential, best, size))
    return tuple(out)
