"""A decoder with a correct causal mask on itself, and none on the memory it looks up."""

import torch
from torch import nn

ITEM = {
    "leak": "L10",
    "kind": "module",
    "reach": "end",
    "why": "memory_mask is missing: step t reads the memory of every step",
}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        h = self.embed(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device, dtype=x.dtype)
        return self.out(self.layer(h, h, tgt_mask=mask)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.3, 0.3, generator=draw)
    return net.eval()
