"""Steps and channels are seen as an image; a 2-D convolution pads the time axis on both sides."""

import torch
from torch import nn

ITEM = {"leak": "L08", "kind": "module", "reach": 2, "why": "a kernel of (5, 2) with padding (2, 0)"}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, (5, 2), padding=(2, 0))
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        h = torch.relu(self.first(x[:, None])).squeeze(-1)
        return self.out(h.transpose(1, 2)).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
