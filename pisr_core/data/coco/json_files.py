"""JSON files; of one with long lists, entries become objects only while someone looks at them."""

from __future__ import annotations

import codecs
import json
import mmap
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec
import numpy as np
from jaxtyping import Int

from pisr_core.errors import DataError

T = TypeVar("T")

CURE = "Mend the file or export it again in COCO panoptic format."

LONG_LISTS = ("images", "annotations")
"""Of COCO's formats."""

BYTES_AT_ONCE = 2**20
"""Of a text that is looked through."""

ENTRIES_AT_ONCE = 1024
"""Decoded together; so many are objects at a time."""


def load_json(path: Path, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        parse_constant: called with `NaN`, `Infinity` or `-Infinity`, which JSON does not have; gives their values.

    Raises:
        DataError: the file is missing, unreadable or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=parse_constant)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check the path.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path and its rights.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}). {CURE}") from error


class MappedText:
    """The text of a file in pages that the system can drop and read again, without the mark of the byte order.

    Pickled it is the path.

    Args:
        path: of the file, which is not empty.

    Attributes:
        text: its bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        text = memoryview(self._pages)
        self.text = text[len(codecs.BOM_UTF8) :] if text[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8 else text

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedText, (self.path,)

    def drop_pages(self) -> None:
        """Has the system take them back; those that are looked at again it reads again, mostly from its cache."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)

    def places(self, parts: Sequence[msgspec.Raw]) -> tuple[Int[np.ndarray, " parts"], Int[np.ndarray, " parts"]]:
        """Where parts of the text begin and end."""
        addresses = (np.frombuffer(part, np.uint8).__array_interface__["data"][0] for part in parts)
        own = np.frombuffer(self.text, np.uint8).__array_interface__["data"][0]
        starts = np.fromiter(addresses, np.int64, len(parts)) - own
        return starts, starts + np.fromiter((len(memoryview(part)) for part in parts), np.int64, len(parts))


class JsonList(Sequence[Any]):
    """Values of a JSON file that stay in it: one is decoded each time it is asked for.

    Args:
        file: with the values.
        starts: where in the text each begins.
        ends: where it ends.
    """

    def __init__(self, file: MappedText, starts: Int[np.ndarray, " values"], ends: Int[np.ndarray, " values"]) -> None:
        self._file, self._starts, self._ends = file, starts, ends

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> JsonList: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return JsonList(self._file, self._starts[index], self._ends[index])
        return _decoded(self._file.text[self._starts[index] : self._ends[index]])

    def typed(self, decoder: msgspec.json.Decoder[T]) -> list[T]:
        """All values as the decoder's type.

        Raises:
            msgspec.ValidationError: one is of another form.
        """
        text = self._file.text
        places = zip(self._starts.tolist(), self._ends.tolist(), strict=True)
        values = [decoder.decode(text[start:end]) for start, end in places]
        self._file.drop_pages()
        return values


def portions(entries: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Successive parts of a list, with the position of each one's first entry."""
    for start in range(0, len(entries), ENTRIES_AT_ONCE):
        yield start, entries[start : start + ENTRIES_AT_ONCE]


def typed(entries: Sequence[Any], decoder: msgspec.json.Decoder[T]) -> list[T] | None:
    """All entries as the decoder's type; `None` where one is of another form, or they are no `JsonList`."""
    try:
        return entries.typed(decoder) if isinstance(entries, JsonList) else None
    except msgspec.ValidationError:
        return None


def load_json_lists(path: Path, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """As `load_json`, but the lists of the file's outermost object that `LONG_LISTS` names are `JsonList`s.

    What is no such object, or holds what JSON does not have (NaN), comes as `load_json` gives it.

    Raises:
        DataError: see `load_json`.
    """
    try:
        file = MappedText(path)
        _check_utf8(file.text)
        members = msgspec.json.decode(file.text, type=dict[str, msgspec.Raw])
        content = {name: _member(file, name, member) for name, member in members.items()}
        file.drop_pages()
        return content
    except (OSError, ValueError, RecursionError, msgspec.DecodeError):
        return load_json(path, parse_constant)


def load_json_lines(path: Path) -> JsonList:
    """The values of a file that has one on each line; lines that are no JSON, such as one that was cut off, left out.

    Args:
        path: of a file that is not empty.
    """
    starts, ends = array("q"), array("q")
    with path.open("rb") as file:
        for line in file:
            end = file.tell()
            if _is_json(line):
                starts.append(end - len(line))
                ends.append(end)
    return JsonList(MappedText(path), np.array(starts, np.int64), np.array(ends, np.int64))


def _is_json(text: bytes) -> bool:
    try:
        text.decode()  # msgspec does not look into texts that it skips
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


def _check_utf8(text: memoryview) -> None:
    """Raises `UnicodeDecodeError`, as msgspec does not for what it skips."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(text), BYTES_AT_ONCE):
        decoder.decode(text[start : start + BYTES_AT_ONCE])
    decoder.decode(b"", final=True)


def _member(file: MappedText, name: str, text: msgspec.Raw) -> Any:
    if name in LONG_LISTS and memoryview(text)[:1] == b"[":
        return JsonList(file, *file.places(msgspec.json.decode(text, type=list[msgspec.Raw])))
    return _decoded(text)


def _decoded(text: msgspec.Raw | memoryview) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # a number beyond a float's range, which Python reads as infinite
        return json.loads(bytes(text))
