"""JSON files; of one with long lists, entries become objects only while someone looks at them."""

from __future__ import annotations

import codecs
import json
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from pisr_core.errors import DataError

T = TypeVar("T")

CURE = "Mend the file or export it again in COCO panoptic format."

LONG_LISTS = ("images", "annotations")
"""Of COCO's formats."""

BYTES_AT_ONCE = 2**20
"""Of a text that is looked through."""


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


class JsonList(Sequence[Any]):
    """A list of a JSON file that keeps its text: an entry is decoded each time it is asked for.

    Args:
        texts: of the entries, which are valid JSON.
    """

    def __init__(self, texts: Sequence[msgspec.Raw]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> JsonList: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return JsonList(self._texts[index])
        return _decoded(self._texts[index])

    def typed(self, decoder: msgspec.json.Decoder[T]) -> list[T]:
        """All entries as the decoder's type.

        Raises:
            msgspec.ValidationError: an entry is of another form.
        """
        return [decoder.decode(text) for text in self._texts]


def load_json_lists(path: Path, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """As `load_json`, but the lists of the file's outermost object that `LONG_LISTS` names are `JsonList`s.

    What is no such object, or holds what JSON does not have (NaN), comes as `load_json` gives it.

    Raises:
        DataError: see `load_json`.
    """
    try:
        text = _mapped(path)
        _check_utf8(text)
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        return {name: _member(name, member) for name, member in members.items()}
    except (OSError, ValueError, RecursionError, msgspec.DecodeError):
        return load_json(path, parse_constant)


def _mapped(path: Path) -> memoryview:
    """A file's bytes, in pages that the system can drop and read again, without the mark of the byte order."""
    with path.open("rb") as file:
        text = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return text[len(codecs.BOM_UTF8) :] if text[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8 else text


def _check_utf8(text: memoryview) -> None:
    """Raises `UnicodeDecodeError`, as msgspec does not for what it skips."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(text), BYTES_AT_ONCE):
        decoder.decode(text[start : start + BYTES_AT_ONCE])
    decoder.decode(b"", final=True)


def _member(name: str, text: msgspec.Raw) -> Any:
    if name in LONG_LISTS and memoryview(text)[:1] == b"[":
        return JsonList(msgspec.json.decode(text, type=list[msgspec.Raw]))
    return _decoded(text)


def _decoded(text: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # a number beyond a float's range, which Python reads as infinite
        return json.loads(bytes(text))
