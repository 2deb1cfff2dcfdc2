"""What is written is what is shown, whatever rich or matplotlib would make of it."""

import io

import numpy as np
import pytest
from rich.console import Console
from typer.main import get_command

from pisr_cli.app import app
from pisr_cli.terminal import console
from pisr_cli.terminal.errors import exit_codes
from pisr_core.errors import DataError
from pisr_core.results.plot import draw_confusion

NAMES = ("<b>crack</b>[red]", "[bold]a[/bold]", "[/]", ":car:", "[link=x]y[/link]", r"a\[b]", "['.[export]']")


def commands(command, words=()):
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


def squeezed(text):
    """Without frames, and with words one blank apart."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize(("words", "command"), commands(get_command(app)), ids=lambda each: str(each)[:40])
def test_help_shows_every_text_as_it_is_written(pisr, monkeypatch, words, command):
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 1000)
    code, out, _ = pisr(*words, "--help")
    shown = squeezed(out)
    assert code == 0
    for text in (command.help, *(parameter.help for parameter in command.params if getattr(parameter, "help", None))):
        assert squeezed(text) in shown


def test_the_extras_are_named_whole(pisr, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 200)
    assert "pip install '.[wandb]'" in pisr("train", "--help")[1]
    assert "pip install '.[export]'" in pisr("export", "--help")[1]


@pytest.mark.parametrize("name", NAMES)
def test_tables_messages_errors_and_bars(name, monkeypatch):
    table = console.text_table(name, (name, "count"))
    table.add_row(name, "3")
    for printed in ("results", "messages", "alerts"):
        monkeypatch.setattr(getattr(console, printed), "_file", io.StringIO())
    console.results.print(table, width=200)
    console.say(name)
    with pytest.raises(SystemExit), exit_codes():
        raise DataError(f"the class {name}.")
    texts = [getattr(console, printed).file.getvalue() for printed in ("results", "messages", "alerts")]
    assert [text.count(name) for text in texts] == [3, 1, 1]
    terminal = Console(file=io.StringIO(), width=200, force_terminal=True)
    monkeypatch.setattr(console, "messages", terminal)
    with console.progress_bar(name) as progress:
        progress(1, 1)
    assert name in terminal.file.getvalue()


def test_pictures_read_no_formulas():
    counts = np.eye(2, dtype=np.int64)
    assert draw_confusion(counts, [r"$\frac$", "b"]).shape[2] == 3
    plain, formula = (draw_confusion(counts, [name, "b"]) for name in ("ab", "$ab$"))
    assert plain.shape != formula.shape or (plain != formula).any()


@pytest.mark.parametrize("columns", [80, 120])
def test_lists_fit_the_terminal(pisr, monkeypatch, columns):
    for words in (("weights", "list"), ("presets",)):
        monkeypatch.setattr(console.results, "_width", columns)
        code, out, _ = pisr(*words)
        lines = out.splitlines()
        rows = [line for line in lines if line.startswith("│")]
        assert code == 0 and max(map(len, lines)) <= columns
        names = [line.split()[1] for line in rows if line[2] != " "]
        assert len(rows) <= len(names) * (1.2 if columns == 120 else 2)
