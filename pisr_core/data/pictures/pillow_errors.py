"""What Pillow says of files that cannot be read."""

from __future__ import annotations

import struct
import warnings
import zlib

from PIL import Image

BROKEN_IMAGE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What it raises on broken, foreign or unreasonably large files."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
