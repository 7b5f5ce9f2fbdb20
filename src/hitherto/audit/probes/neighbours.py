"""P4: batch neighbours. A frozen model must say the same about a sample alone, in other company, and in another order.

Batch normalisation in train mode, dropout left on and running statistics that move at prediction are seen here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import differs, scale, since
from hitherto.audit.target import NET_RTOL, Predictor
from hitherto.audit.verdict import Finding, ProbeResult
from hitherto.seeds import Stream
from hitherto.windows import Windows

MAX_DATES = 48
MAX_SAMPLES = 6_000


def probe(predictor: Predictor, rng: Stream, alone: int = 12) -> ProbeResult:
    """Predict ``predictor.windows`` whole, again, in a random half, in another order, and ``alone`` units one by one.

    A unit is a sample (unit "asset") or a date (unit "date"). Tolerance 1e-5 of each output's scale. Class L07 when two
    equal calls differ or the state moved, else L06.
    """
    begun = time.perf_counter()
    draw = rng.numpy("neighbours", predictor.name)
    windows = _sample(predictor.windows, draw)
    index = windows.index
    if len(index) < 2:
        return ProbeResult("P4", predictor.name, "nothing", "cannot tell", "fewer than two samples to predict")
    before = digest(predictor)
    whole = _predict(predictor, windows)
    allowed = np.array([NET_RTOL * scale(whole[:, o]) for o in range(whole.shape[1])])
    lines: list[Finding] = []

    def compare(
        new: NDArray[np.float64], where: NDArray[np.integer]
    ) -> tuple[NDArray[np.bool_], tuple[float, float] | None]:
        old = whole[where]
        changed = np.stack([differs(old[:, o], new[:, o], float(allowed[o])) for o in range(old.shape[1])], axis=1)
        rows = np.asarray(changed.any(axis=1))
        if not changed.any():
            return rows, None
        i, o = np.argwhere(changed)[0]
        return rows, (float(old[i, o]), float(new[i, o]))

    bad, proof = compare(_predict(predictor, windows), np.arange(len(index)))
    if proof:
        lines.append(_finding("L07", predictor, int(bad.sum()), len(bad), "samples", proof, "two equal calls differ"))
    moved = _moved(before, digest(predictor))
    if moved:
        lines.append(
            _finding(
                "L07",
                predictor,
                len(moved),
                len(before or {}),
                "tensors",
                None,
                "state mutated: " + ", ".join(moved[:3]),
            )
        )
    if not lines:  # a random or moving model differs everywhere: its company proves nothing more
        lines += _company(predictor, windows, draw, alone, compare)
    after = _moved(before, digest(predictor))
    if after and not moved:
        lines.append(
            _finding(
                "L07",
                predictor,
                len(after),
                len(before or {}),
                "tensors",
                None,
                "state mutated: " + ", ".join(after[:3]),
            )
        )
    what = "sample" if predictor.unit == "asset" else "date"
    tried = f"{alone} {what}s alone, a random half, another order of listings; {len(index)} samples"
    detail = "" if before is not None else "no state to hash was given"
    hits = (max((f.hits for f in lines), default=0), max((f.tried for f in lines), default=alone))
    return ProbeResult(
        "P4", predictor.name, tried, "LEAK" if lines else "ok", detail, hits, tuple(lines), seconds=since(begun)
    )


def _company(
    predictor: Predictor, windows: Windows, draw: np.random.Generator, alone: int, compare: Any
) -> list[Finding]:
    """Compare units alone, in a random half and with the listings in another order; one finding at most."""
    index, shape = windows.index, windows.mask.shape
    dates = np.unique(index[:, 0])
    by_date = predictor.unit == "date"
    units = dates if by_date else np.arange(len(index))
    bad, proof = 0, None
    picked = draw.permutation(units)[:alone]
    for u in picked:
        where = np.flatnonzero(index[:, 0] == u) if by_date else np.array([u])
        _, p = compare(_predict(predictor, _only(windows, where)), where)
        bad += p is not None
        proof = proof or p
    if proof:
        what = "dates" if by_date else "samples"
        return [_finding("L06", predictor, bad, len(picked), what, proof, "alone against in company")]
    half = np.isin(index[:, 0], draw.permutation(dates)[: (len(dates) + 1) // 2])
    if not by_date:
        half = draw.random(len(index)) < 0.5
        half[0] = True
    where = np.flatnonzero(half)
    wrong, proof = compare(_predict(predictor, _only(windows, where)), where)
    if proof:
        return [_finding("L06", predictor, int(wrong.sum()), len(wrong), "samples", proof, "in half of the company")]
    order = draw.permutation(shape[1])
    place = np.empty(shape[1], np.intp)
    place[order] = np.arange(shape[1])
    other = _permuted(windows, order)
    spot = {(int(t), int(n)): i for i, (t, n) in enumerate(other.index)}
    back = np.array([spot[int(t), int(place[n])] for t, n in index])
    wrong, proof = compare(_predict(predictor, other)[back], np.arange(len(index)))
    if proof:
        return [_finding("L06", predictor, int(wrong.sum()), len(wrong), "samples", proof, "listings in another order")]
    return []


def digest(predictor: Predictor) -> dict[str, str] | None:
    """Return tensor name -> SHA-256 of its numbers, None when the predictor shows no state."""
    if predictor.state is None:
        return None
    out = {}
    for name, value in predictor.state().items():
        if hasattr(value, "detach"):  # a torch tensor
            value = value.detach().cpu().numpy()
        data = value if isinstance(value, bytes) else np.asarray(value).tobytes()
        out[str(name)] = hashlib.sha256(data).hexdigest()
    return out


def _moved(before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> list[str]:
    if before is None or after is None:
        return []
    return sorted(k for k in {*before, *after} if before.get(k) != after.get(k))


def _finding(
    leak: str, predictor: Predictor, hits: int, tried: int, of: str, proof: tuple[float, float] | None, note: str
) -> Finding:
    old, new = proof or (None, None)
    return Finding(leak, predictor.name, "P4", hits, tried, old=old, new=new, of=of, note=note)


def _predict(predictor: Predictor, windows: Windows) -> NDArray[np.float64]:
    out = np.asarray(predictor.predict(windows), np.float64)
    return out[:, None] if out.ndim == 1 else out


def _only(windows: Windows, where: NDArray[np.integer]) -> Windows:
    """The same windows, asked for the given samples only."""
    mask = np.zeros_like(windows.mask)
    t, n = windows.index[where].T
    mask[t, n] = True
    return windows.with_(mask=mask)


def _sample(windows: Windows, draw: np.random.Generator) -> Windows:
    """At most MAX_DATES whole dates and about MAX_SAMPLES samples."""
    index = windows.index
    dates = np.unique(index[:, 0])
    per_date = max(1, len(index) // max(1, len(dates)))
    most = max(2, min(MAX_DATES, MAX_SAMPLES // per_date))
    if len(dates) <= most:
        return windows
    return _only(windows, np.flatnonzero(np.isin(index[:, 0], draw.permutation(dates)[:most])))


def _permuted(windows: Windows, order: NDArray[np.intp]) -> Windows:
    """The same windows with the listings in another order."""
    features = dataclasses.replace(windows.features, values=windows.features.values[:, order])
    label = windows.label
    if label is not None:
        label = dataclasses.replace(
            label, values=label.values[:, order], start=label.start[:, order], end=label.end[:, order]
        )
    return windows.with_(features=features, label=label, mask=windows.mask[:, order])
