"""Values sent from one process to another, arrays and tensors without being copied into a pickle.

They go through a socket. Shared memory, which torch would use, is small in containers and costs a file handle a tensor.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
from socket import socket
from typing import Any

import numpy as np

LENGTH = struct.Struct("!Q")

Message = list[Any]
"""What `send` sends: bytes-like blocks."""


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """Tensors as arrays: Python sends those apart from the pickle."""
        torch = sys.modules.get("torch")  # not imported for those who send none
        if torch is None or not isinstance(value, torch.Tensor):
            return NotImplemented
        return torch.from_numpy, (value.numpy(),)


def packed(value: Any) -> Message:
    """A value as the blocks of a message. Whatever cannot be pickled is told of here, before anything is sent."""
    buffers: list[pickle.PickleBuffer] = []
    content = io.BytesIO()
    _Pickler(content, protocol=5, buffer_callback=buffers.append).dump(value)
    blocks = [content.getbuffer(), *(buffer.raw() for buffer in buffers)]
    head = pickle.dumps([block.nbytes for block in blocks])
    return [LENGTH.pack(len(head)), head, *blocks]


def send(end: socket, message: Message) -> None:
    """Sends a message; waits while the other end does not read."""
    for block in message:
        end.sendall(block)


def receive(end: socket, patience: int = 0) -> Any:
    """The next value.

    Args:
        end: blocks for a second at most, see `settimeout`.
        patience: seconds in which nothing may come, 0 for no limit. They are counted as they are waited for: time for
            which this process stood still itself, as after Ctrl-Z, is none.

    Raises:
        EOFError: the other end is gone.
        TimeoutError: nothing came for too long.
    """
    (length,) = LENGTH.unpack(_block(end, LENGTH.size, patience))
    content, *buffers = [_block(end, size, patience) for size in pickle.loads(_block(end, length, patience))]
    return pickle.loads(content, buffers=buffers)


def _block(end: socket, size: int, patience: int) -> memoryview:
    block = np.empty(size, np.uint8).data
    got = waited = 0
    while got < size:
        try:
            count = end.recv_into(block[got:])
        except TimeoutError:
            waited += 1
            if waited == patience:
                raise
            continue
        except ConnectionError:
            count = 0
        if count == 0:
            raise EOFError
        got, waited = got + count, 0
    return block
