"""A centred branch behind a learned gate that has all but closed in this fit, and may open in the next one."""

import torch
from torch import nn

ITEM = {"leak": "L08", "kind": "module", "reach": 1, "why": "1.5e-8 of x[t + 1] comes through"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 8, batch_first=True)
        self.branch = nn.Conv1d(2, 8, 3, padding=1)
        self.out = nn.Linear(8, 1)
        self.register_buffer("gate", torch.tensor(-18.0))

    def forward(self, x):
        side = self.branch(x.transpose(1, 2)).transpose(1, 2)
        return self.out(self.rnn(x)[0] + torch.sigmoid(self.gate) * side).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
