"""Looks like l02: trend and rest by a moving average inside the net, padded on the left by the first step."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "the average of eight steps ends at t"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trend = nn.Linear(2, 1)
        self.rest = nn.Linear(2, 1)

    def forward(self, x):
        padded = functional.pad(x.transpose(1, 2), (7, 0), mode="replicate")
        trend = functional.avg_pool1d(padded, 8, stride=1).transpose(1, 2)
        return (self.trend(trend) + torch.tanh(self.rest(x - trend))).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
