"""Windows of sixteen inputs and their label row are normalised together before the net sees the inputs."""

import torch
from torch import nn
from torch.nn import functional

ITEM = {
    "leak": "L11",
    "kind": "module",
    "reach": 1,
    "why": "the mean and deviation of each window include the row after the decision",
}
CHANNELS = ("close", "volume")
WINDOW = 16


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        padded = functional.pad(x, (0, 0, WINDOW - 1, 1))
        samples = padded.unfold(1, WINDOW + 1, 1).transpose(2, 3)
        z = (samples - samples.mean(2, keepdim=True)) / (samples.std(2, keepdim=True) + 1e-6)
        inputs = z[:, :, :WINDOW].flatten(0, 1)
        return self.out(self.rnn(inputs)[1][-1]).view(x.shape[0], x.shape[1])


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
