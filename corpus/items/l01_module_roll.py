"""A residual net that takes 'the previous step' with torch.roll of the wrong sign, so that it sees the next step."""

import torch
from torch import nn

ITEM = {"leak": "L01", "kind": "module", "reach": 1, "why": "torch.roll(x, -1, dims=1) brings step t + 1 to t"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.now = nn.Linear(2, 8)
        self.before = nn.Linear(2, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        before = torch.roll(x, -1, dims=1)
        return self.out(torch.tanh(self.now(x) + self.before(before))).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
