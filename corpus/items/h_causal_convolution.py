"""Looks like l08: a convolution over time, but padded on the left only."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "row t reads t - 4 .. t"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 5)
        self.last = nn.Conv1d(8, 1, 1)

    def forward(self, x):
        h = self.first(functional.pad(x.transpose(1, 2), (4, 0)))
        return self.last(torch.relu(h)).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
