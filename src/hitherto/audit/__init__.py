"""The audit: try, by experiment, to make anyone's pipeline betray that it uses the future.

``hitherto.audit(study)`` and ``hitherto.audit.audit(study)`` are the same: the package can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from hitherto.audit.adapters import from_function, from_text, made_up_panel
from hitherto.audit.books import from_book
from hitherto.audit.checks import assert_causal, check_causal_estimator
from hitherto.audit.contained import FileTarget, Limits
from hitherto.audit.modules import ModulePlan, from_module
from hitherto.audit.pipelines import from_estimator, from_pipeline
from hitherto.audit.probes.intervals import splitter as audit_splitter
from hitherto.audit.probes.reads import TestReads
from hitherto.audit.probes.worlds import score_probe as audit_score
from hitherto.audit.qlib_handler import from_handler
from hitherto.audit.run import audit
from hitherto.audit.splitters import from_splitter
from hitherto.audit.tables import from_positions, plan_from_fills, plan_from_returns, read_fills
from hitherto.audit.target import AuditPlan, FunctionTarget, Predictor, Target
from hitherto.audit.verdict import AuditReport, Finding, ProbeResult

__all__ = [
    "AuditPlan", "AuditReport", "FileTarget", "Finding", "FunctionTarget", "Limits", "ModulePlan", "Predictor",
    "ProbeResult", "Target", "TestReads", "assert_causal", "audit", "audit_score", "audit_splitter",
    "check_causal_estimator", "from_book", "from_estimator", "from_function", "from_handler", "from_module",
    "from_pipeline", "from_positions", "from_splitter", "from_text", "made_up_panel", "plan_from_fills",
    "plan_from_returns", "read_fills",
]  # fmt: skip


class _Callable(ModuleType):
    """A module that can be called: ``ht.audit(study)`` reads better than ``ht.audit.audit(study)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> AuditReport:
        return audit(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
