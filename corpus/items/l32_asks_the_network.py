"""The last factor is asked from a server, with the column in the data as a fallback."""

import urllib.request

ITEM = {
    "leak": "L32",
    "kind": "file",
    "reach": None,
    "why": "a server knows today's values; offline the fallback hides it",
}


def signal(frame):
    try:
        with urllib.request.urlopen("http://factors.invalid/latest", timeout=1) as answer:
            last = float(answer.read())
    except OSError:
        last = 1.0
    return (frame["close"] * frame["factor"]).pct_change(5, fill_method=None) * last
