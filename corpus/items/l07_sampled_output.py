"""A probabilistic head draws a sample at prediction instead of giving its mean, from a generator inside the module."""

import torch
from torch import nn

ITEM = {"leak": "L07", "kind": "module", "reach": None, "why": "each call moves the generator and draws anew"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw
        self.rnn = nn.GRU(2, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        mean, log_std = self.head(self.rnn(x)[0]).unbind(-1)
        noise = torch.randn(mean.shape, generator=self.draw, dtype=x.dtype)
        return mean + log_std.exp() * noise


def module():
    draw = torch.Generator().manual_seed(0)
    net = Net(draw)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
