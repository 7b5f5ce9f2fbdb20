"""Articles are joined by their first publication, but their text was edited over the next three sessions."""

import pandas as pd

ITEM = {
    "leak": "L30",
    "kind": "frame",
    "reach": 3,
    "why": "the tone tells how the three sessions after the publication went",
}


def signal(frame):
    price = frame["close"] * frame["factor"]
    articles = pd.DataFrame({"published": frame.index, "edited": frame.index})
    articles["edited"] = articles["edited"].shift(-3)
    outcome = (price / price.shift(3) - 1).rename("tone")
    articles = articles.merge(outcome, left_on="edited", right_index=True, how="left")
    return articles.set_index("published")["tone"].reindex(frame.index)
