"""Looks like l04 and l11: windows of sixteen steps are normalised by their own mean and deviation, and end at t."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "the label row is not in the window"}
CHANNELS = ("close", "volume")
WINDOW = 16


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        windows = functional.pad(x, (0, 0, WINDOW - 1, 0)).unfold(1, WINDOW, 1).transpose(2, 3)
        z = (windows - windows.mean(2, keepdim=True)) / (windows.std(2, keepdim=True) + 1e-3)
        return self.out(self.rnn(z.flatten(0, 1))[1][-1]).view(x.shape[0], x.shape[1])


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
