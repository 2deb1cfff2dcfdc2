"""Commands whose modules are imported when they are asked for: none waits for the others'."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.main import get_group


@dataclass(frozen=True)
class Place:
    """Where a command is defined.

    Attributes:
        module: its name.
        attribute: the command's function there, or the `typer.Typer` of several.
        shows_help: whether it shows its help when it is given nothing.
    """

    module: str
    attribute: str
    shows_help: bool = False

    def load(self, name: str) -> Any:
        """The command, which is called `name`."""
        found = getattr(import_module(self.module), self.attribute)
        around = typer.Typer()
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=name)
        else:
            around.command(name, no_args_is_help=self.shows_help)(found)
        return get_group(around).commands[name]


class OnDemand(Mapping[str, Any]):
    """Commands by name.

    Args:
        places: in the order of the help.
        finish: called with each command that is loaded.
    """

    def __init__(self, places: Mapping[str, Place], finish: Callable[[Any], None] = lambda command: None) -> None:
        self._places = places
        self._finish = finish
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            command = self._places[name].load(name)
            self._finish(command)
            self._loaded[name] = command
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
