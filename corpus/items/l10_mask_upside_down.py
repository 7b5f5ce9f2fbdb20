"""A boolean mask in the sense of nn.MultiheadAttention (True = hidden) is given to a function where True = seen."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {
    "leak": "L10",
    "kind": "module",
    "reach": "end",
    "why": "scaled_dot_product_attention attends where the mask is True: the future",
}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 24)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        q, k, v = self.embed(x).chunk(3, dim=-1)
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu()
        h = functional.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
        return self.out(h + v).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
