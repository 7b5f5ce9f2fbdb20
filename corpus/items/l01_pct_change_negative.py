"""A 'reversal' feature that is the percentage change with period -1, which is the next bar's return, turned round."""

ITEM = {"leak": "L01", "kind": "frame", "reach": 1, "why": "pct_change(-1) divides by the next close"}


def signal(frame):
    reversal = frame["close"].pct_change(-1)
    return reversal.clip(-0.2, 0.2)
