"""The demo study on the embedded real prices."""

from __future__ import annotations

from pathlib import Path

STUDY = Path(__file__).with_name("demo.toml")
