"""A temporal convolution net with padding on both sides, of which the right one is cut off in every block."""

import torch
from torch import nn

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "the first T of T + padding steps are causal"}
CHANNELS = ("close", "volume")


class Block(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.conv = nn.Conv1d(channels, 6, 3, padding=2 * dilation, dilation=dilation)
        self.skip = nn.Conv1d(channels, 6, 1)

    def forward(self, x):
        return torch.relu(self.conv(x)[..., : x.shape[-1]]) + self.skip(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(2, 1), Block(6, 2), Block(6, 4))
        self.out = nn.Conv1d(6, 1, 1)

    def forward(self, x):
        return self.out(self.blocks(x.transpose(1, 2))).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
