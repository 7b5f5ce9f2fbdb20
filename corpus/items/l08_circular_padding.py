"""A convolution with circular padding, cut to be causal: the first two steps read the last two of the sequence."""

import torch
from torch import nn

ITEM = {"leak": "L08", "kind": "module", "reach": "end", "why": "circular padding wraps the end round to the start"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 3, padding=2, padding_mode="circular")
        self.last = nn.Conv1d(8, 1, 1)

    def forward(self, x):
        h = self.first(x.transpose(1, 2))[..., : x.shape[1]]
        return self.last(torch.relu(h)).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
