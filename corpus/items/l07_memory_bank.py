"""Each prediction is stored in a buffer of the net, for the next round of training: test rows enter what is saved."""

import torch
from torch import nn

ITEM = {"leak": "L07", "kind": "module", "reach": None, "why": "the buffers 'bank' and 'place' move at each prediction"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("bank", torch.zeros(64, 6))
        self.register_buffer("place", torch.tensor(0))
        self.rnn = nn.GRU(2, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        h, _ = self.rnn(x)
        with torch.no_grad():
            self.bank[self.place % 64] = h[:, -1].mean(0).to(self.bank.dtype)
            self.place += 1
        return self.out(h).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
