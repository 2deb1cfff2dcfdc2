"""What losses are divided by when several processes share a batch."""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor, distributed


def shared_denominator(count: Shaped[Tensor, ""], at_least: int = 0) -> Shaped[Tensor, ""]:
    """A count (of pixels, masks, weights), averaged over the processes of torch's group.

    Gradients are averaged over the processes, so divided by this every pixel counts the same wherever it is, and
    the result is that of one process with the whole batch.

    Args:
        count: of this process.
        at_least: floor of the sum over all processes, against a division by zero.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return count.clamp(min=at_least)
    total = count.detach().float().clone()
    distributed.all_reduce(total)
    return total.clamp(min=at_least) / distributed.get_world_size()
