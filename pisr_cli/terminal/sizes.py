"""Sizes on the command line."""

from __future__ import annotations

from pisr_core.errors import ConfigError


def parse_size(text: str) -> tuple[int, int]:
    """(H, W) in pixels from such as `512x1024`.

    Raises:
        ConfigError: it is written otherwise.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise ConfigError(f"--size {text}: write height and width in pixels, for example 512x1024.")
    return int(height), int(width)
