"""Columns of a table as arrays: a million values are one object, which processes share and send in milliseconds.

A Python object for each value would be copied by every process that merely reads it, for reading counts references.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from jaxtyping import Int, UInt8


class TextColumn(Sequence[str]):
    """Texts, one after another in one array of bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        parts = [text.encode(errors="surrogatepass") for text in texts]
        self._bytes: UInt8[np.ndarray, " bytes"] = np.frombuffer(b"".join(parts), np.uint8)
        self._ends: Int[np.ndarray, " texts"] = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        start = self._ends[position - 1] if position else 0
        return self._bytes[start : self._ends[position]].tobytes().decode(errors="surrogatepass")


class IdColumn(Sequence[int | str]):
    """Ids that differ, of images: 64-bit integers, or texts among them too.

    Args:
        ids: each once.
    """

    def __init__(self, ids: Sequence[int | str]) -> None:
        # Texts and integers in one column are told apart by the quotes that JSON gives to texts.
        numbers = all(isinstance(value, int) for value in ids)
        self._values: Int[np.ndarray, " ids"] | TextColumn = (
            np.array(ids, np.int64) if numbers else TextColumn(map(_as_json, ids))
        )
        order = np.argsort(self._values) if numbers else sorted(range(len(ids)), key=self._values.__getitem__)
        self._order: Int[np.ndarray, " ids"] = np.asarray(order, np.int64)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> int | str: ...

    @overload
    def __getitem__(self, index: slice) -> list[int | str]: ...

    def __getitem__(self, index: int | slice) -> int | str | list[int | str]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        value = self._values[index]
        return json.loads(value) if isinstance(value, str) else int(value)

    def find(self, value: object) -> int | None:
        """The position of an id, `None` where it is not among them."""
        if not isinstance(value, int | str):
            return None
        if isinstance(self._values, TextColumn):
            wanted: int | str = _as_json(value)
        elif isinstance(value, int) and abs(value) < 2**63:
            wanted = value
        else:
            return None
        place = bisect_left(range(len(self)), wanted, key=lambda place: self._values[int(self._order[place])])
        position = int(self._order[place]) if place < len(self) else None
        return position if position is not None and self._values[position] == wanted else None


def _as_json(value: int | str) -> str:
    return json.dumps(value, ensure_ascii=False)
