"""Presets: TOML files to `Config` and back, with every mistake named by its dotted key."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import tomli_w

from pisr_core.config import Config
from pisr_core.errors import ConfigError

FRAGMENTS = "_base"
"""Folder of the parts that presets extend."""

FORMER_VALUES = {("train.checkpointing", False): "none", ("train.checkpointing", True): "all"}
"""What settings of earlier versions are called now."""

LARGEST = 2**31
"""No setting is a larger number."""


def folder() -> Path:
    """Where the presets lie: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "_presets"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "presets"


def names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """A preset by its name or by the path of a TOML file, with overrides applied.

    Args:
        name_or_path: `coco-pdl-r50`, or `my/own.toml` (which may extend presets and fragments by name).
        overrides: `a.b=value` each, the value in TOML's syntax; a bare word is a string.

    Raises:
        ConfigError: unknown preset, broken TOML, an unknown key or a value of the wrong type or range.
    """
    path = _find(name_or_path, beside=None)
    table = _read(path, (), {})
    table.setdefault("name", path.stem)
    for override in overrides:
        _merge(table, _parse_override(override))
    return from_dict(table, source=str(name_or_path))


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """The config with other values.

    Args:
        config: stays as it is.
        settings: values by their dotted keys, such as `{"train.lr": 0.001}`.

    Raises:
        ConfigError: an unknown key or a value of the wrong type or range.
    """
    table = to_dict(config)
    for key, value in settings.items():
        _merge(table, _nested(key, value))
    return from_dict(table, source=config.name) if settings else config


def values(overrides: Sequence[str]) -> dict[str, Any]:
    """What overrides set, see `load`, by dotted keys; of a whole table each of its values."""

    def leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in table.items():
            yield from leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else ((prefix + key, value),)

    return {key: value for override in overrides for key, value in leaves(_parse_override(override), "")}


def from_dict(table: Mapping[str, Any], source: str) -> Config:
    """A `Config` from plain values.

    Args:
        table: nested values as TOML or JSON give them; what is left out keeps its default.
        source: named in messages.

    Raises:
        ConfigError: an unknown key or a value of the wrong type or range.
    """
    try:
        return _build(Config, table, prefix="")
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def to_dict(config: Config) -> dict[str, Any]:
    """Every setting as plain values, defaults included."""
    return dataclasses.asdict(config)


def to_toml(config: Config) -> str:
    """Every setting as TOML that `load` reads back to the same `Config`."""
    return tomli_w.dumps(to_dict(config))


def _find(name: str, beside: Path | None) -> Path:
    if name.endswith(".toml"):
        path = Path(name) if beside is None else beside.parent / name
        if not _is_file(path):
            raise ConfigError(f"{shown(str(path))}: no such preset file.")
        return path
    for candidate in (folder() / f"{name}.toml", folder() / FRAGMENTS / f"{name}.toml"):
        if _is_file(candidate):
            return candidate
    known = names()
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ConfigError(f"preset {shown(name)} does not exist: {hint}`pisr presets` lists all {len(known)}.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _read(path: Path, trail: tuple[Path, ...], known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """A file's values on top of those that it extends; `known` are those of the files that were read before."""
    identity = path.resolve()
    if identity in trail:
        raise ConfigError(f"{path}: extends itself through {' → '.join(p.name for p in (*trail, identity))}.")
    if identity not in known:
        known[identity] = _read_anew(path, (*trail, identity), known)
    return copy.deepcopy(known[identity])


def _read_anew(path: Path, trail: tuple[Path, ...], known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """Of several files that it extends the later wins."""
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error}).") from None
    extends = own.pop("extends", [])
    parents = [extends] if isinstance(extends, str) else extends
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise ConfigError(f"{path}: extends = {shown(extends)}: a name or a list of names.")
    table: dict[str, Any] = {}
    for parent in parents:
        inherited = _read(_find_parent(parent, path), trail, known)
        for personal in ("name", "description", "paper"):
            inherited.pop(personal, None)
        _merge(table, inherited)
    _merge(table, own)
    return table


def _find_parent(name: str, child: Path) -> Path:
    try:
        return _find(name, beside=child)
    except ConfigError as error:
        raise ConfigError(f"{child}: extends: {error}") from None


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> None:
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write it as key=value, for example --set train.lr=0.001")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        parsed = value.strip()
    return _nested(key.strip(), parsed)


def _nested(key: str, value: Any) -> dict[str, Any]:
    """Tables for the parts of a dotted key, one within the other."""
    *outer, last = key.split(".")
    nested = {last: value}
    for part in reversed(outer):
        nested = {part: nested}
    return nested


def _build(kind: type, table: Any, prefix: str) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} = {shown(table)}: a table of settings is needed.")
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            cure = f"did you mean {prefix}{close[0]}?" if close else f"known here: {', '.join(known)}"
            raise ConfigError(f"unknown setting {prefix}{shown(key)[1:-1]}: {cure}")
    return kind(
        **{key: _convert(hints[key], _renamed(value, prefix + key), prefix + key) for key, value in table.items()}
    )


def _renamed(value: Any, key: str) -> Any:
    """The value as it is called now."""
    return FORMER_VALUES.get((key, value), value) if isinstance(value, bool) else value


def _convert(hint: Any, value: Any, key: str) -> Any:
    """The value as the schema's type; integers serve as floats, lists as tuples, one table as a list of tables."""
    if isinstance(hint, types.UnionType):  # a word, or something longer
        hint = next(kind for kind in typing.get_args(hint) if (kind is str) == isinstance(value, str))
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, prefix=f"{key}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if dataclasses.is_dataclass(arguments[0]) and isinstance(value, Mapping):
            value = [value]
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key} = {shown(value)}: a list is needed.")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise ConfigError(f"{key} = {shown(value)}: {len(kinds)} values are needed.")
        return tuple(_convert(k, v, f"{key}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict or (hint is Any and isinstance(value, Mapping)):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key} = {shown(value)}: a table is needed.")
        inner = arguments[1] if arguments else Any
        return {str(k): _convert(inner, v, f"{key}.{shown(k)[1:-1]}") for k, v in value.items()}
    if hint is Any and isinstance(value, list | tuple):
        return [_convert(Any, entry, f"{key}[{i}]") for i, entry in enumerate(value)]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not (abs(value) <= LARGEST and math.isfinite(value)):
        raise ConfigError(f"{key} = {shown(value)}: a number from -2³¹ to 2³¹ is needed.")
    if hint is float and is_number:
        return float(value)
    if hint is Any:
        hint = type(value) if isinstance(value, bool | int | float | str) else str
    if type(value) is not hint:
        raise ConfigError(f"{key} = {shown(value)}: {_describe(hint)} is needed, not {_describe(type(value))}.")
    return value


def _describe(kind: type | types.UnionType) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(
        typing.cast(type, kind), getattr(kind, "__name__", str(kind))
    )
