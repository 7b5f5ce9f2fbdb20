"""GroupNorm with one group stands in for LayerNorm in a causal convolution net; on (B, C, T) it averages over time."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {
    "leak": "L04",
    "kind": "module",
    "reach": "end",
    "why": "GroupNorm(1, C) takes statistics over channels and steps",
}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 3)
        self.norm = nn.GroupNorm(1, 8)
        self.last = nn.Conv1d(8, 1, 3)

    def forward(self, x):
        h = torch.relu(self.norm(self.first(functional.pad(x.transpose(1, 2), (2, 0)))))
        return self.last(functional.pad(h, (2, 0))).squeeze(1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (*net.first.parameters(), *net.last.parameters()):
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
