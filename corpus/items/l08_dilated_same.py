"""A dilated convolution keeps the length by padding both sides with the dilation."""

import torch
from torch import nn

ITEM = {"leak": "L08", "kind": "module", "reach": 4, "why": "a kernel of three with dilation four reads x[t + 4]"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 3, dilation=4, padding=4)
        self.last = nn.Conv1d(8, 1, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x.transpose(1, 2)))).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
