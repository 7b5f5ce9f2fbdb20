"""Looks like l04: a norm over the sequence, but by cumulative sums, so that step t knows steps up to t."""

import torch
from torch import nn

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "cumsum divided by the count so far"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device)[:, None]
        mean = x.cumsum(1) / count
        spread = ((x - mean) ** 2).cumsum(1) / count
        return self.out(torch.tanh(self.first((x - mean) / (spread + 1e-3).sqrt()))).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
