"""An activation norm takes its shift and scale from the first batch it ever meets, and that is the test set."""

import torch
from torch import nn

ITEM = {"leak": "L07", "kind": "module", "reach": None, "why": "the first prediction writes 'shift' and 'scale'"}
CHANNELS = ("close", "volume")


class ActNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.register_buffer("ready", torch.tensor(False))
        self.register_buffer("shift", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, x):
        if not self.ready:
            with torch.no_grad():
                self.shift.copy_(x.mean((0, 1)))
                self.scale.copy_(x.std((0, 1)) + 1e-6)
                self.ready.fill_(True)
        return (x - self.shift) / self.scale


def module():
    net = nn.Sequential(ActNorm(2), nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1), nn.Flatten(1))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 0.5, generator=draw)
    return net.eval()
