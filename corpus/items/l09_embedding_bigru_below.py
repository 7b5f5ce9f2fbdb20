"""A causal LSTM stands on top of a bidirectional GRU that 'only embeds' the bars."""

import torch
from torch import nn

ITEM = {"leak": "L09", "kind": "module", "reach": None, "why": "the embedding of step t has read later steps"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.GRU(2, 4, batch_first=True, bidirectional=True)
        self.rnn = nn.LSTM(8, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        embedded, _ = self.embed(x)
        return self.out(self.rnn(embedded)[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
