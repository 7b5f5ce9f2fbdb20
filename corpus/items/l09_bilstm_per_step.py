"""A bidirectional LSTM with one output per step: the backward half has read the sequence from its end."""

import torch
from torch import nn

ITEM = {"leak": "L09", "kind": "module", "reach": None, "why": "the backward state at t holds t + 1 .. T, fading"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(2, 6, batch_first=True, bidirectional=True)
        self.out = nn.Linear(12, 1)

    def forward(self, x):
        return self.out(self.rnn(x)[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
