"""What `torch.save` and `pickle.dump` wrote, read as data: see `pisr_core.weights.files.pickles`."""

from __future__ import annotations

import mmap
import struct
import zipfile
from io import BufferedIOBase, BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from pisr_core.weights.files.pickles import DataUnpickler

LEGACY_MARK = 0x1950A86A20F9469CFC6C
"""The first pickle of a file by torch before 1.6."""

LEGACY_COUNT = struct.Struct("<q")
"""Stands before each storage there: how many numbers it has."""

LOCAL_HEADER = struct.Struct("<26x2H")
"""Of a zip's entry, as far as the lengths of its name and of its extra field."""


def read_pickled(path: Path) -> tuple[Any, set[str]]:
    """What a file of torch's two formats, or a plain pickle, holds; numbers stay on the disk until they are used.

    Returns:
        The content: Python's own values, and `Table`, `Array`, `StoredTensor` and `Foreign`. And the names of the
        classes that were not read.

    Raises:
        Exception: one of `MALFORMED`.
    """
    with path.open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return _read_zip(file, mapped) if mapped[:2] == b"PK" else _read_pickles(file, mapped)


def _read_zip(file: BufferedIOBase, mapped: memoryview) -> tuple[Any, set[str]]:
    """One pickle, and an entry for each storage."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        name = next((name for name in entries if name.endswith("/data.pkl")), None)
        if name is None:
            raise UnpicklingError(f"a zip archive without torch's data.pkl: {', '.join(list(entries)[:5])}")
        unpickler = DataUnpickler(BytesIO(archive.read(name)))
        content = unpickler.load()
        folder = name.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in entries and archive.read(order) != b"little":
            raise UnpicklingError("its numbers are in big-endian order")
    for key, storage in unpickler.storages.items():
        entry = entries[f"{folder}data/{key}"]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise UnpicklingError("its archive was compressed anew; unpack it and save it by torch")
        start = entry.header_offset + LOCAL_HEADER.size
        start += sum(LOCAL_HEADER.unpack(mapped[entry.header_offset : start]))
        storage.buffer = mapped[start : start + entry.file_size]
    return content, unpickler.foreign


def _read_pickles(file: BufferedIOBase, mapped: memoryview) -> tuple[Any, set[str]]:
    """A pickle, or torch's former format: its mark, version, machine, content, keys and storages."""
    unpickler = DataUnpickler(file)
    content = unpickler.load()
    if content != LEGACY_MARK:
        return content, unpickler.foreign
    for _ in ("version", "machine"):
        DataUnpickler(file).load()
    unpickler = DataUnpickler(file)
    content = unpickler.load()
    keys, start = DataUnpickler(file).load(), file.tell()
    for key in keys:
        storage = unpickler.storages[key]
        (count,) = LEGACY_COUNT.unpack(mapped[start : start + LEGACY_COUNT.size])
        start += LEGACY_COUNT.size
        storage.buffer = mapped[start : start + count * storage.dtype.itemsize]
        start += len(storage.buffer)
    return content, unpickler.foreign
