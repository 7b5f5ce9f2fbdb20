"""The pytest plugin: a fixture ``assert_causal``, so that a test of one's own features is one line.

``def test_my_signal(assert_causal): assert_causal(my_signal)``. The audit itself is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def assert_causal() -> Callable[..., Any]:
    """Return ``hitherto.audit.checks.assert_causal``: it raises AssertionError with the LEAK lines, else reports."""
    from hitherto.audit.checks import assert_causal as check

    return check
