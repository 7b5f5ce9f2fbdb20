"""A net normalises each channel over its whole sequence before a causal layer: every step sees the end."""

import torch
from torch import nn

ITEM = {"leak": "L04", "kind": "module", "reach": "end", "why": "InstanceNorm1d averages over all steps"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm1d(2)
        self.rnn = nn.GRU(2, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        z = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.out(self.rnn(z)[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
