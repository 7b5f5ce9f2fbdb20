"""A function of tensors of fixed shape, captured as a CUDA graph on CUDA and called plainly elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM = 3  # calls before a capture, which let libraries choose their workspaces


class Replayed:
    """``function(*tensors) -> Tensor`` on ``device``; a graph reads copies in fixed places and writes to one place.

    example: inputs of the shapes to come, on which the function must change nothing: it is called to warm up. The
    result of a call is overwritten by the next one on CUDA. The function may not look at a value on the host.
    """

    def __init__(self, function: Callable[..., Tensor], example: Sequence[Tensor], device: str) -> None:
        self.function, self.device = function, device
        self.graph: torch.cuda.CUDAGraph | None = None
        if device.startswith("cuda"):
            self._capture(example)

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the function's result for ``tensors`` (on the host or the device)."""
        if self.graph is None:
            return self.function(*(t.to(self.device) for t in tensors))
        for place, t in zip(self.places, tensors, strict=True):
            place.copy_(t, non_blocking=True)
        self.graph.replay()
        return self.out

    def _capture(self, example: Sequence[Tensor]) -> None:
        with torch.cuda.device(self.device):
            self.places = [t.to(self.device) for t in example]
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM):
                    self.function(*self.places)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # other threads may allocate meanwhile: only this one's calls are watched
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.out = self.function(*self.places)
            self.graph = graph
