"""Dropout by function without the training flag, whose default is True: predictions stay random."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": "L07", "kind": "module", "reach": None, "why": "F.dropout(h, 0.1) drops in eval mode too"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 8, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        return self.out(functional.dropout(self.rnn(x)[0], 0.1)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
