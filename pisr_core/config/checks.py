"""Checks that settings go through when they are made."""

from __future__ import annotations

from typing import Any

from pisr_core.errors import ConfigError


def check(condition: bool, key: str, value: Any, rule: str) -> None:
    """Raises `ConfigError` naming the dotted key, its value and the rule that it breaks."""
    if not condition:
        raise ConfigError(f"{key} = {value!r}: {rule}.")


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` with the choices when `value` is none of them."""
    check(value in choices, key, value, f"choose one of {', '.join(choices)}")
