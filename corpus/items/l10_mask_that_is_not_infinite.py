"""A causal mask takes 25 off the scores of later steps, where it should take off infinity."""

import torch
from torch import nn

ITEM = {"leak": "L10", "kind": "module", "reach": "end", "why": "1e-11 of every later step comes through: exp(-25)"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(2, 8), nn.Linear(2, 8), nn.Linear(2, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        steps = x.shape[1]
        score = self.query(x) @ self.key(x).transpose(1, 2) / 8**0.5
        later = torch.ones(steps, steps, dtype=x.dtype, device=x.device).triu(1)
        weight = (score - 25.0 * later).softmax(dim=-1)
        return self.out(weight @ self.value(x)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
