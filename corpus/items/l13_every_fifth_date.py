"""Every fifth date is a test date, so that both parts see all market phases."""

import numpy as np

ITEM = {
    "leak": "L13",
    "kind": "splitter",
    "reach": None,
    "why": "five-day labels of the dates in between reach over each test date",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    every = np.arange(n)
    return [(every[every % 5 != k], every[every % 5 == k]) for k in range(5)]
