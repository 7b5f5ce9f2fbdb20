"""Looks like l06: a batch norm, in eval mode, with the statistics of training."""

import torch
from torch import nn

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "running statistics are constants at prediction"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 8)
        self.norm = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 1)
        self.norm.running_mean.fill_(0.1)
        self.norm.running_var.fill_(2.0)

    def forward(self, x):
        h = self.norm(self.first(x).transpose(1, 2)).transpose(1, 2)
        return self.out(torch.relu(h)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
