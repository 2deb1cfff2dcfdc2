"""What follows the network, behind it: on a GPU one batch is merged and fetched while the next is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

from pisr_core.runtime.patience import worker_pool
from pisr_core.runtime.pipeline import mapped_ahead

Result = TypeVar("Result")


def finished_behind(begun: Iterable[Callable[[], Result]], device: torch.device) -> Iterator[Result]:
    """What the calls return, in order and without gradients.

    On a GPU a thread makes each call, on a stream of its own, while the next one is begun: the GPU computes on while
    the host waits for a batch's maps. The outputs of two batches are held then. Elsewhere each is called at once.

    Args:
        begun: calls that finish what taking them began on the device. They end by waiting for what they computed, so
            that its memory is free again.
        device: what it was begun on.
    """
    if device.type != "cuda":
        yield from map(_without_gradients, begun)
        return
    side = SideStream(device)
    with worker_pool(1) as pool:
        yield from mapped_ahead(_without_gradients, map(side.after_all_so_far, begun), pool, ahead=1)


def _without_gradients(finish: Callable[[], Result]) -> Result:
    with torch.inference_mode():
        return finish()


class SideStream:
    """A stream beside the one that is current.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def after_all_so_far(self, function: Callable[[], Result]) -> Callable[[], Result]:
        """The same function, on this stream, for when all is done that the current one was given until now."""
        given = torch.cuda.current_stream(self._stream.device).record_event()

        def later() -> Result:
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(given)
                return function()

        return later
