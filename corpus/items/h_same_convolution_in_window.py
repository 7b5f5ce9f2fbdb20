"""Looks like l08: 'same' padding, but inside windows of ten steps that end at the decision."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "the windows end at t; what happens inside them is free"}
CHANNELS = ("close", "volume")
WINDOW = 10


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 3, padding="same")
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        windows = functional.pad(x, (0, 0, WINDOW - 1, 0)).unfold(1, WINDOW, 1).flatten(0, 1)
        h = torch.relu(self.conv(windows)).mean(-1)
        return self.out(h).view(x.shape[0], x.shape[1])


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
