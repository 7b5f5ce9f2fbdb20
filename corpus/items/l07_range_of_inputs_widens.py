"""The largest input ever seen is kept in a buffer for the next quantisation, and predicting on test rows widens it."""

import torch
from torch import nn

ITEM = {"leak": "L07", "kind": "module", "reach": None, "why": "the buffer 'widest' moves at each prediction"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("widest", torch.tensor(0.0))
        self.rnn = nn.LSTM(2, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        with torch.no_grad():
            self.widest.copy_(torch.maximum(self.widest, x.abs().max()))
        return self.out(self.rnn(x)[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
