"""Looks like l10: a transformer layer, with the causal mask in place."""

import torch
from torch import nn

ITEM = {"leak": None, "kind": "module", "reach": None, "why": "step t attends to steps up to t"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device, dtype=x.dtype)
        return self.out(self.layer(self.embed(x), src_mask=mask, is_causal=True)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.3, 0.3, generator=draw)
    return net.eval()
