"""Looks like l32: files are read, but they are the interpreter's own time zones."""

import zoneinfo

import pandas as pd

ITEM = {"leak": None, "kind": "file", "reach": None, "why": "package data of the interpreter, not of the market"}


def signal(frame):
    noon = (frame.index + pd.Timedelta(hours=12)).tz_localize(zoneinfo.ZoneInfo("America/New_York"))
    summer = noon.tz_convert("UTC").hour == 16
    return frame["close"].pct_change(5, fill_method=None).where(summer)
