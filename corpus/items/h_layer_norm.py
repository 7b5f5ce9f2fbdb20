"""Looks like l04: a normalised net, but LayerNorm takes its statistics over the channels of one step."""

import torch
from torch import nn

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "no statistics cross steps or samples"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.norm = nn.LayerNorm(8)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        return self.out(self.rnn(self.norm(self.embed(x)))[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
