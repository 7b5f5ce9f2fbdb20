"""Looks like l07: a net with dropout layers, which eval() switches off at prediction."""

import torch
from torch import nn

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "nn.Dropout obeys eval()"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 8, num_layers=2, dropout=0.3, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        return self.out(self.drop(self.rnn(x)[0])).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
