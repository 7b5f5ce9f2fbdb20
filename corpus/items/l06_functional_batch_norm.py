"""The functional batch norm is called with training=True whatever the mode of the module."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": "L06", "kind": "module", "reach": "end", "why": "F.batch_norm(training=True) uses the batch at hand"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        z = functional.batch_norm(flat, None, None, training=True).reshape(x.shape)
        return self.out(self.rnn(z)[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
