"""'Cheap' stocks are those below 15 in front-adjusted prices: only a 0 or 1 comes out, moved by later splits."""

ITEM = {"leak": "L28", "kind": "frame", "reach": "end", "why": "the threshold is compared with front-adjusted prices"}


def signal(frame):
    adjusted = frame["close"] * frame["factor"] / frame["factor"].iloc[-1]
    return (adjusted < 15.0).astype(float)
