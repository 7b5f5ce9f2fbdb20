"""A batch norm that was told to ignore eval(): it keeps using, and learning from, the batch that it predicts."""

import torch
from torch import nn

ITEM = {"leak": "L06", "kind": "module", "reach": "end", "why": "train(mode) always switches to train mode"}
CHANNELS = ("close", "volume")


class Adaptive(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 8)
        self.norm = Adaptive(8)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        h = self.norm(self.first(x).transpose(1, 2)).transpose(1, 2)
        return self.out(torch.relu(h)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (*net.first.parameters(), *net.out.parameters()):
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
