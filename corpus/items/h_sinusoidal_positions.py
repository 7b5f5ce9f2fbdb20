"""Looks like l32: positions are added, but as sines of the step's number, which do not know the length."""

import torch
from torch import nn

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "the position of t is a function of t"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        steps = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)[:, None]
        waves = torch.exp(-torch.arange(4, dtype=x.dtype, device=x.device))
        places = torch.cat([torch.sin(steps * waves), torch.cos(steps * waves)], dim=-1)
        return self.out(self.rnn(self.embed(x) + places)[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
