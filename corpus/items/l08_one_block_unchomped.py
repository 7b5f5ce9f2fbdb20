"""A temporal convolution net in which the last of three blocks forgets to cut the padding off on the right."""

import torch
from torch import nn

ITEM = {
    "leak": "L08",
    "kind": "module",
    "reach": 2,
    "why": "the last block cuts its padding of four in half: x[t + 2] is seen",
}
CHANNELS = ("close", "volume")


class Block(nn.Module):
    def __init__(self, channels, dilation, cut):
        super().__init__()
        self.conv = nn.Conv1d(channels, 6, 3, padding=2 * dilation, dilation=dilation)
        self.skip = nn.Conv1d(channels, 6, 1)
        self.cut = cut

    def forward(self, x):
        steps = x.shape[-1]
        h = self.conv(x)[..., self.cut : self.cut + steps]
        return torch.relu(h) + self.skip(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(2, 1, 0), Block(6, 2, 0), Block(6, 2, 2))
        self.out = nn.Conv1d(6, 1, 1)

    def forward(self, x):
        return self.out(self.blocks(x.transpose(1, 2))).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
