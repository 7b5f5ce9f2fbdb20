"""``hitherto doctor``: what is here, what it costs, and one sentence of advice."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
from dataclasses import dataclass
from typing import Any

from hitherto import compute

EXTRAS = {
    "stats": "arch", "tune": "optuna", "portfolio": "cvxpy", "policy": "gymnasium", "explain": "captum",
    "sources": "akshare", "text": "jieba", "notebook": "jupytext", "ui": "starlette", "ray": "ray",
    "test": "pytest",
}  # fmt: skip


@dataclass(frozen=True)
class Examination:
    """What the doctor saw: facts by section, LSTM step times in ms per thread count, and the advice."""

    facts: dict[str, Any]
    kernels: dict[str, str]
    extras: dict[str, bool]
    step_ms: dict[int, float]
    advice: str

    def to_text(self) -> str:
        """Return the examination as aligned lines."""
        lines = ["versions and machine", *(f"  {k:<18} {v}" for k, v in self.facts.items())]
        lines += ["kernels", *(f"  {k:<18} {v}" for k, v in self.kernels.items())]
        have = [k for k, ok in self.extras.items() if ok]
        lack = [k for k, ok in self.extras.items() if not ok]
        lines += [
            "extras",
            f"  {'installed':<18} {', '.join(have) or '-'}",
            f"  {'not installed':<18} {', '.join(lack)}",
        ]
        lines += ["one LSTM training step (hidden 64, 30 x 20 inputs, 512 samples)"]
        lines += [f"  {n} thread{'s' if n > 1 else ' '}{'':<9} {ms:.0f} ms" for n, ms in self.step_ms.items()]
        return "\n".join([*lines, f"advice: {self.advice}"])

    def to_json(self) -> str:
        """Return the examination as JSON."""
        body = {"facts": self.facts, "kernels": self.kernels, "extras": self.extras}
        return json.dumps({**body, "lstm_step_ms": self.step_ms, "advice": self.advice}, default=str)


def examine() -> Examination:
    """Collect versions, backends and extras, and time one LSTM step with 1 and with all threads."""
    cores = os.cpu_count() or 1
    step = {n: compute.measure_lstm_step(n) for n in dict.fromkeys([1, cores])}
    extras = {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()}
    seen = {**compute.record(), **compute.probe()}
    versions = seen.pop("versions")
    return Examination({**versions, **seen}, kernels(), extras, step, advise(step, os.environ.get("OMP_WAIT_POLICY")))


def kernels() -> dict[str, str]:
    """Return the backend of each kernel."""
    numba = f"numba {importlib.metadata.version('numba')}"
    return {
        "exchange.step": numba, "window gather": numba, "features": numba, "IC": numba,
        "LSTM": f"torch {importlib.metadata.version('torch')}",
    }  # fmt: skip


def advise(step_ms: dict[int, float], policy: str | None) -> str:
    """Return one sentence: how to use the cores, from the measured steps."""
    one, many = step_ms[min(step_ms)], step_ms[max(step_ms)]
    cores = max(step_ms)
    spin = "" if (policy or "").upper() == "PASSIVE" else " Set OMP_WAIT_POLICY=PASSIVE before Python starts."
    if cores == 1:
        return "one core: nothing to choose." + spin
    gain = one / many
    if gain < 1.0:
        return (
            f"{cores} threads make one LSTM {1 / gain:.1f}x slower here: fit one model per core, one thread each."
            + spin
        )
    if gain < 0.8 * cores:
        return (
            f"{cores} threads speed one LSTM up {gain:.1f}x, less than {cores} models side by side would: "
            "fit one model per core, one thread each." + spin
        )
    return (
        f"{cores} threads speed one LSTM up {gain:.1f}x: threads inside a model are as good as models side by side."
        + spin
    )
