"""Writes cli.md beside this file from the commands themselves: `python docs/make_cli.py`.

Typer's own generator (`typer utils docs`) is not used: its text changes with its version, and a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from typer.main import get_command

from pisr_cli.app import app

INTRODUCTION = """# Commands

Written by `python docs/make_cli.py` from what `--help` shows. All commands end with 0 when all went well, 2 after a
mistake that you can mend, 1 after a bug and 130 after Ctrl-C. Results go to stdout, all else to stderr; where stderr is
no terminal, lines take the place of bars. What `--json` prints is listed in [schema/](schema), a JSON schema for each
command, and nothing else comes. `pisr --install-completion` makes the shell complete commands and options.
"""

ELSEWHERE = {"--help", "--install-completion", "--show-completion"}
"""Options that typer words itself."""

LINE_LENGTH = 150

HEAD = "| | |\n|---|---|\n"


def document() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(_sections(get_command(app), "pisr"))


def _sections(command: Any, name: str) -> Iterator[str]:
    """A section for the command and for each one below it."""
    yield "\n".join(("", f"## {name}", "", _text(command.help), *_parameters(command)))
    for word, below in getattr(command, "commands", {}).items():
        yield from _sections(below, f"{name} {word}")


def _text(help_text: str) -> str:
    """The paragraphs, and the examples as a block to copy."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in help_text.split("\n\n")]
    told = [fill(paragraph, LINE_LENGTH) for paragraph in paragraphs if not paragraph.startswith("Example: ")]
    examples = [paragraph.removeprefix("Example: ") for paragraph in paragraphs if paragraph.startswith("Example: ")]
    block = "\n".join(("```sh", *examples, "```"))
    return "\n\n".join(told + ([block] if examples else [])) + "\n"


def _parameters(command: Any) -> list[str]:
    """A table of arguments and options."""
    rows = [_row(parameter) for parameter in command.params if ELSEWHERE.isdisjoint(parameter.opts)]
    return ["".join((HEAD, *rows))] if rows else []


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name
    else:
        names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
        name = f"{names} {parameter.metavar or ''}".strip()
    needed = " Required." if parameter.required else ""
    return f"| {name} | {_escaped(parameter.help or '')}{needed}{_default(parameter.default)} |\n"


def _default(value: Any) -> str:
    plain = isinstance(value, bool | int | float | str | Path | list | tuple)
    return f" Default: {_words(value)}." if plain and value not in (None, False, "", (), []) else ""


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(document(), encoding="utf-8")
