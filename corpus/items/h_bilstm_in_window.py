"""Looks like l09: a bidirectional LSTM, but inside windows of twelve steps that end at the decision."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "both directions read t - 11 .. t only"}
CHANNELS = ("close", "volume")
WINDOW = 12


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(2, 4, batch_first=True, bidirectional=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        windows = functional.pad(x, (0, 0, WINDOW - 1, 0)).unfold(1, WINDOW, 1).transpose(2, 3)
        h = self.rnn(windows.flatten(0, 1))[0].mean(1)
        return self.out(h).view(x.shape[0], x.shape[1])


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
