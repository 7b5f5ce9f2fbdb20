"""An encoder's last state is handed as context to every step of a causal decoder."""

import torch
from torch import nn

ITEM = {
    "leak": "L09",
    "kind": "module",
    "reach": "end",
    "why": "the last state of a forward LSTM has read the whole sequence",
}
CHANNELS = ("close", "volume")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(2, 6, batch_first=True)
        self.decoder = nn.LSTM(8, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        _, (last, _) = self.encoder(x)
        context = last[-1][:, None].expand(-1, x.shape[1], -1)
        return self.out(self.decoder(torch.cat([x, context], dim=-1))[0]).squeeze(-1)


def module():
    net, draw = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.4, 0.4, generator=draw)
    return net.eval()
