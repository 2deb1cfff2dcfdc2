"""What every process of torch's process group knows, brought together."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

Value = TypeVar("Value")


def from_all_processes(value: Value) -> list[Value]:
    """The value of each process, in their order; this one's alone where there is no process group.

    All processes must call it. Torch is not imported for it: without torch there is no group.

    Args:
        value: can be pickled.
    """
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
