"""A small U-net averages blocks of four steps and repeats the block's value over its four steps."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": "L08", "kind": "module", "reach": 3, "why": "the first step of a block holds the mean of all four"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv1d(2, 6, 1)
        self.up = nn.Conv1d(8, 1, 1)

    def forward(self, x):
        x = x.transpose(1, 2)
        steps = x.shape[-1]
        coarse = functional.avg_pool1d(torch.tanh(self.down(x)), 4, ceil_mode=True)
        h = coarse.repeat_interleave(4, dim=-1)[..., :steps]
        return self.up(torch.cat([h, x], dim=1)).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
