"""Checks that settings go through when they are made."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any

from pisr_core.errors import ConfigError


def check(condition: bool, key: str, value: Any, rule: str) -> None:
    """Raises `ConfigError` naming the dotted key, its value and the rule that it breaks."""
    if not condition:
        raise ConfigError(f"{key} = {reprlib.repr(value)}: {rule}.")


def check_counts(settings: Any, section: str, names: Iterable[str], least: int = 1, most: int = 4096) -> None:
    """Checks numbers that decide how much memory a model takes, lists of them too: none, or a million, is a mistake."""
    for name in names:
        value = getattr(settings, name)
        numbers = value if isinstance(value, tuple) else (value,)
        check(
            all(least <= number <= most for number in numbers),
            f"{section}.{name}",
            value,
            f"at least {least}, at most {most}",
        )


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` with the choices when `value` is none of them."""
    check(value in choices, key, value, f"choose one of {', '.join(choices)}")
