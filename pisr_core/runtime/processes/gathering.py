"""What every process of torch's process group knows, brought together."""

from __future__ import annotations

import gc
import sys
from typing import Any, TypeVar

Value = TypeVar("Value")


def from_all_processes(value: Value) -> list[Value]:
    """The value of each process, in their order; this one's alone where there is no process group.

    All processes must call it. Torch is not imported for it: without torch there is no group.

    Args:
        value: can be pickled.
    """
    distributed = _with_group()
    if distributed is None:
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def end_process_group() -> None:
    """Ends this process's part in the group, if there is one. For a program's end, when the others need it no more.

    The threads of a group that lives on may need Python when it is ending, and abort this process: its starter then
    takes the work that was done for failed.
    """
    distributed = _with_group()
    if distributed is not None:
        gc.collect()  # a network that is not freed yet holds the group
        distributed.destroy_process_group()


def _with_group() -> Any | None:
    """`torch.distributed`, if there is a group."""
    distributed: Any = sys.modules.get("torch.distributed")
    there = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return distributed if there else None
