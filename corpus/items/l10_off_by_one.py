"""The causal mask starts one diagonal too late, so that each step attends to the next one."""

import torch
from torch import nn

ITEM = {"leak": "L10", "kind": "module", "reach": 1, "why": "triu(diagonal=2) leaves step t + 1 open"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        h = self.embed(x)
        ahead = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(diagonal=2)
        return self.out(h + self.attention(h, h, h, attn_mask=ahead, need_weights=False)[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
