"""Looks like l10: attention with a hand-written banded mask that opens t - 7 .. t only."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "the mask hides the future and the distant past"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 24)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        q, k, v = self.embed(x).chunk(3, dim=-1)
        rows = torch.arange(x.shape[1], device=x.device)
        age = rows[:, None] - rows[None, :]
        h = functional.scaled_dot_product_attention(q, k, v, attn_mask=(age >= 0) & (age < 8))
        return self.out(h).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
