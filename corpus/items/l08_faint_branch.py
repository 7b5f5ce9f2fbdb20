"""A causal net with a centred branch behind a layer scale that starts at one millionth and was hardly trained."""

import torch
from torch import nn

ITEM = {
    "leak": "L08",
    "kind": "module",
    "reach": 1,
    "why": "the branch reads x[t + 1] with weight 1e-6: below float32 rounding of the sum, not of the gradient",
}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 8, batch_first=True)
        self.branch = nn.Conv1d(2, 8, 3, padding=1)
        self.out = nn.Linear(8, 1)
        self.register_buffer("scale", torch.tensor(1e-6))

    def forward(self, x):
        side = self.branch(x.transpose(1, 2)).transpose(1, 2)
        return self.out(self.rnn(x)[0] + self.scale * side).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
