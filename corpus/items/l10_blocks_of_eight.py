"""Local attention in blocks of eight steps, unmasked inside the block, 'since a block is short'."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {"leak": "L10", "kind": "module", "reach": 7, "why": "the first step of a block attends to its last"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 24)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        steps = x.shape[1]
        full = -(-steps // 8) * 8
        q, k, v = self.embed(functional.pad(x, (0, 0, 0, full - steps))).unflatten(1, (-1, 8)).chunk(3, dim=-1)
        inside = (torch.arange(full, device=x.device) < steps).view(1, -1, 1, 8)
        h = functional.scaled_dot_product_attention(q, k, v, attn_mask=inside)
        return self.out((h + v).flatten(1, 2)[:, :steps]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
