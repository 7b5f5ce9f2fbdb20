"""A batch norm that keeps no running statistics: even in eval mode it uses the batch, which holds later dates."""

import torch
from torch import nn

ITEM = {"leak": "L06", "kind": "module", "reach": "end", "why": "track_running_stats=False: mean over batch and steps"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 8)
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        h = self.norm(self.first(x).transpose(1, 2)).transpose(1, 2)
        return self.out(torch.relu(h)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (*net.first.parameters(), *net.out.parameters()):
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
