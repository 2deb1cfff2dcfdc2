"""What reading a damaged or hostile weights file raises."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
import zlib

LONGEST = 200
"""Characters of what a file says that a message repeats."""

MALFORMED = (
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
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
    """What an error says, in a line."""
    return shown(str(error)) or type(error).__name__


def shown(text: str) -> str:
    """The first line of a foreign text, for a message: not too long and without a terminal's colours."""
    return next(iter(_COLOURS.sub("", text).splitlines()), "")[:LONGEST]
