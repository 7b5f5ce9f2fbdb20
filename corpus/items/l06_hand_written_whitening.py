"""A helper whitens the batch before a causal net: 'a fixed preprocessing', but its covariance comes from the batch."""

import torch
from torch import nn

ITEM = {"leak": "L06", "kind": "module", "reach": "end", "why": "mean and covariance of all samples and steps"}
CHANNELS = ("close", "volume")


def whiten(x):
    flat = x.reshape(-1, x.shape[-1])
    centred = flat - flat.mean(0)
    scale = torch.linalg.cholesky(centred.T @ centred / len(flat) + 1e-4 * torch.eye(x.shape[-1], dtype=x.dtype))
    return torch.linalg.solve_triangular(scale, centred.T, upper=False).T.reshape(x.shape)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(2, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        return self.out(self.rnn(whiten(x))[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
