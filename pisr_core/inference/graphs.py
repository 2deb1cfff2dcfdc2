"""CUDA graphs: a forward pass of hundreds of kernels that the host starts with a single call."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

EAGER_CALLS = 2
"""Calls with images of a size before it is recorded: kernels are chosen there, and what comes once pays nothing."""

MOST_GRAPHS = 4
"""Sizes that are recorded; each holds the memory of a forward pass."""

_Key = tuple[tuple[torch.Size, torch.dtype], ...]


@dataclass
class Recording:
    """A forward pass that can be repeated.

    Attributes:
        inputs: that it reads.
        output: that it writes.
        replay: does so.
    """

    inputs: tuple[Tensor, ...]
    output: Any
    replay: Callable[[], None]


class GraphedForward:
    """A forward pass that is recorded for each size of images that comes again, and then replayed.

    Where that fails, it goes on as it was, and says so once.

    Args:
        forward: from images on a GPU, and what else it reads, to tensors, in dataclasses, dicts and tuples; shapes
            follow from the inputs' alone, and the host is never asked.
        record: makes a recording; by default with a CUDA graph.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        record: Callable[..., Recording] | None = None,
    ) -> None:
        self._forward = forward
        self._record = record or record_cuda_graph
        self._seen = Counter[_Key]()
        self._recordings: dict[_Key, Recording] = {}
        self._works = True

    def __call__(self, *inputs: Tensor) -> Any:
        """What `forward` gives, in tensors of the caller's own."""
        key = tuple((each.shape, each.dtype) for each in inputs)
        recording = self._recordings.get(key) or self._new_recording(key, inputs)
        if recording is None:
            return self._forward(*inputs)
        for own, given in zip(recording.inputs, inputs, strict=True):
            own.copy_(given)
        recording.replay()
        return map_tensors(recording.output, Tensor.clone)

    def _new_recording(self, key: _Key, inputs: tuple[Tensor, ...]) -> Recording | None:
        """`None` for a size that is not due, and where recording fails."""
        self._seen[key] += 1
        if not self._works or self._seen[key] <= EAGER_CALLS or len(self._recordings) == MOST_GRAPHS:
            return None
        try:
            self._recordings[key] = self._record(self._forward, *inputs)
        except RuntimeError as error:
            self._works = False
            log.warning("CUDA graphs do not work here (%s); going on without.", str(error).split("\n")[0])
        return self._recordings.get(key)


def record_cuda_graph(forward: Callable[..., Any], *inputs: Tensor) -> Recording:
    """Records a forward pass on a GPU.

    Raises:
        RuntimeError: it cannot be recorded, or memory is short.
    """
    with torch.inference_mode(False):  # else it could not be written to outside that mode
        inputs = tuple(map(torch.clone, inputs))
    with torch.cuda.device(inputs[0].device):
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries get their workspaces on the stream that they are recorded on
            forward(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        # Other threads may use the GPU meanwhile: they page-lock the memory of the next images.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            output = forward(*inputs)
    return Recording(inputs, output, graph.replay)


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same dataclasses, dicts, lists and tuples, with each tensor in them changed."""
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: map_tensors(getattr(value, f.name), change) for f in fields(value)})
    if isinstance(value, Mapping):
        return {name: map_tensors(part, change) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(part, change) for part in value)
    return value
