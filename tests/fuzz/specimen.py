"""A whole file with its reader, and what many are made of."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SIZE = (24, 32)


@dataclass(frozen=True)
class Specimen:
    """A whole file and its reader.

    Attributes:
        name: of the file that mutations change.
        files: this and others that it needs, by name.
        read: reads them in a folder; may write below its subfolder `out`.
        form: `bytes`, `json`, `toml` or `safetensors`: what mutations can take apart.
    """

    name: str
    files: dict[str, bytes]
    read: Callable[[Path], Any]
    form: str = "bytes"


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def csv_bytes(columns: list[str], rows: list[list[Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows([columns, *rows])
    return buffer.getvalue().encode()
