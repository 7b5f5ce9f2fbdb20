"""Positions are fed as a share of the sequence's length, so that each step knows how much is still to come."""

import torch
from torch import nn

ITEM = {"leak": "L32", "kind": "module", "reach": None, "why": "t / T changes with the number of rows"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        steps = x.shape[1]
        share = torch.arange(steps, dtype=x.dtype, device=x.device) / steps
        z = torch.cat([x, share.expand(x.shape[0], steps)[..., None]], dim=-1)
        return self.out(torch.tanh(self.mix(z))).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
