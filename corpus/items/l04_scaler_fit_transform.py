"""scikit-learn's RobustScaler, fitted inside the feature function on the rows that it then scales."""

from sklearn.preprocessing import RobustScaler

ITEM = {"leak": "L04", "kind": "long", "reach": "end", "why": "fit_transform uses every row for the scale"}


def signal(frame):
    known = frame[["high", "low"]].dropna()
    width = known["high"] / known["low"] - 1.0
    scaled = RobustScaler().fit_transform(width.to_numpy()[:, None])[:, 0] if len(known) else width.to_numpy()
    return width.mul(0.0).add(scaled).reindex(frame.index)
