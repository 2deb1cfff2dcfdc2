"""What reading a damaged or hostile weights file raises."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile

LONGEST = 200
"""Characters of an error that a message repeats."""

MALFORMED = (
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    EOFError,
    OSError,
    MemoryError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)
"""What torch, NumPy and pickle raise for bytes that they cannot read, or will not for safety's sake."""


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def first_line(error: Exception) -> str:
    """What an error says, in a line without a terminal's colours."""
    lines = _COLOURS.sub("", str(error)).splitlines()
    return next(iter(lines), type(error).__name__)[:LONGEST]
