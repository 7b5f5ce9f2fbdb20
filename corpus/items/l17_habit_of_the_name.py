"""A name's score is its mean five-day return over the sample, times today's volume surprise."""

ITEM = {
    "leak": "L17",
    "kind": "long",
    "reach": "end",
    "why": "group mean of the label over all dates, mapped back to each of them",
}


def signal(frame):
    price = frame["close"] * frame["factor"]
    label = price.groupby("symbol").shift(-5) / price - 1
    habit = label.groupby("symbol").transform("mean")
    return habit * frame["volume"].groupby("symbol").pct_change(fill_method=None)
