"""The scores of a causal attention are multiplied by the logarithm of the whole sequence's length."""

import torch
from torch import nn

ITEM = {"leak": "L32", "kind": "module", "reach": None, "why": "log T, not log t: each step knows how many follow"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(2, 8), nn.Linear(2, 8), nn.Linear(2, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        steps = x.shape[1]
        heat = torch.log(torch.tensor(float(steps), device=x.device))
        score = self.query(x) @ self.key(x).transpose(1, 2) * heat / 8**0.5
        later = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1)
        weight = score.masked_fill(later, float("-inf")).softmax(dim=-1)
        return self.out(weight @ self.value(x)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
