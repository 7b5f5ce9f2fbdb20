"""The audit: try, by experiment, to make anyone's pipeline betray that it uses the future.

``hitherto.audit(study)`` and ``hitherto.audit.audit(study)`` are the same: the package can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from hitherto.audit.adapters import from_function, from_text, made_up_panel
from hitherto.audit.probes.intervals import splitter as audit_splitter
from hitherto.audit.run import audit
from hitherto.audit.target import AuditPlan, FunctionTarget, Predictor, Target
from hitherto.audit.verdict import AuditReport, Finding, ProbeResult

__all__ = [
    "AuditPlan", "AuditReport", "Finding", "FunctionTarget", "Predictor", "ProbeResult", "Target", "audit",
    "audit_splitter", "from_function", "from_text", "made_up_panel",
]  # fmt: skip


class _Callable(ModuleType):
    """A module that can be called: ``ht.audit(study)`` reads better than ``ht.audit.audit(study)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> AuditReport:
        return audit(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
