"""A plain GRU that is fed the flipped sequence and flipped back: 'reading from the most recent bar'."""

import torch
from torch import nn

ITEM = {"leak": "L09", "kind": "module", "reach": None, "why": "flip, forward GRU, flip is a backward GRU"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 8, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        recent_first = torch.flip(x, dims=(1,))
        return torch.flip(self.out(self.rnn(recent_first)[0]).squeeze(-1), dims=(1,))


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
