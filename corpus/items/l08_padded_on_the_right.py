"""A causal convolution by hand, with the two sides of the padding in the wrong order."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {
    "leak": "L08",
    "kind": "module",
    "reach": 2,
    "why": "pad(x, (0, 2)) pads at the end: the kernel reads t .. t + 2",
}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 3)
        self.last = nn.Conv1d(8, 1, 1)

    def forward(self, x):
        h = self.first(functional.pad(x.transpose(1, 2), (0, 2)))
        return self.last(torch.relu(h)).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
