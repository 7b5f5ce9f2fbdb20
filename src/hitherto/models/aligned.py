"""A linear layer whose result for a row does not depend on the row's place in the batch, bit for bit."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

ROW = 16  # float32 numbers in 64 bytes, the widest unit that a processor loads
NARROW = 16  # outputs below which BLAS takes a product row by row


class Linear(nn.Linear):
    """``torch.nn.Linear`` with its inputs filled up by zeros to whole 64 bytes where it has few outputs.

    For few outputs BLAS sums along each row and first steps to an aligned address: where a row begins then decides the
    order of its sum, and with it the last bit. With whole rows they all begin alike. Weights, gradients and (to
    rounding) results are those of ``torch.nn.Linear``; inputs that are a multiple of 16, or 16 outputs, cost nothing.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name that torch gives it)
        """Return (..., out_features)."""
        short = -self.in_features % ROW
        if not short or self.out_features >= NARROW:
            return super().forward(input)
        return functional.linear(functional.pad(input, (0, short)), functional.pad(self.weight, (0, short)), self.bias)
