"""A convolution over time with 'same' padding gives one number per step: the kernel hangs over both sides."""

import torch
from torch import nn

ITEM = {"leak": "L08", "kind": "module", "reach": 2, "why": "a kernel of five, padded by two on each side"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 5, padding="same")
        self.last = nn.Conv1d(8, 1, 1)

    def forward(self, x):
        return self.last(torch.relu(self.first(x.transpose(1, 2)))).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
