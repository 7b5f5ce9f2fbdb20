"""Looks like l32: it writes a log and reads settings that belong to the code."""

import logging
import tomllib
from pathlib import Path

ITEM = {
    "leak": None,
    "kind": "file",
    "reach": None,
    "why": "settings beside the source and a log in the working folder hold no market data",
}


SETTINGS = Path(__file__).with_suffix(".toml")
logging.basicConfig(filename="signal.log", level=logging.INFO)


def signal(frame):
    length = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))["length"]
    logging.info("%d rows, length %d", len(frame), length)
    return frame["close"] / frame["close"].rolling(length).mean()
