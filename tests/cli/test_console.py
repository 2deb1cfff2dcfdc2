import io
import logging

import pytest
from rich.console import Console

from pisr_cli.app import main
from pisr_cli.terminal import console


@pytest.fixture
def stderr(monkeypatch):
    """What is written to a stderr that is no terminal."""
    messages, alerts = (Console(file=io.StringIO(), width=120) for _ in range(2))
    monkeypatch.setattr(console, "messages", messages)
    monkeypatch.setattr(console, "alerts", alerts)
    yield messages, alerts
    logging.basicConfig(force=True)


def text(of):
    return of.file.getvalue()


def test_lines_stand_for_bars_where_there_is_no_terminal(stderr, monkeypatch):
    clock = iter([0, 1, 11, 12, 13])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress_bar("reading") as progress:
        for done in (1, 2, 3, 4):
            progress(done, 4)
    assert text(stderr[0]).splitlines() == ["reading: 2 of 4, 11 s", "reading: 4 of 4, 13 s"]


def test_lines_count_bytes(stderr):
    with console.progress_bar("fetching", in_bytes=True) as progress:
        progress(2_500_000, 2_500_000)
    assert text(stderr[0]) == "fetching: 2.5 MB of 2.5 MB, 0 s\n"


def test_bars_on_a_terminal(stderr, monkeypatch):
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True)
    monkeypatch.setattr(console, "messages", terminal)
    with console.progress_bar("reading") as progress:
        progress(4, 4)
    assert "━" in text(terminal) and "4/4" in text(terminal)


@pytest.mark.parametrize(
    ("verbose", "quiet", "kept"),
    [(False, False, ["info", "warning"]), (True, False, ["debug", "info", "warning"]), (False, True, ["warning"])],
)
def test_what_of_the_log_is_shown(stderr, verbose, quiet, kept):
    console.set_loudness(verbose, quiet)
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger("pisr_core.somewhere"), level)("a word of %s", level)
    logging.getLogger("another_library").info("not ours")
    shown, silent = (stderr[1], stderr[0]) if quiet else (stderr[0], stderr[1])
    assert [line.split()[-1] for line in text(shown).splitlines()] == kept
    assert text(silent) == ""


def test_quiet_silences_messages_and_bars_only(stderr):
    console.set_loudness(verbose=False, quiet=True)
    console.messages.print("hello")
    with console.progress_bar("reading") as progress:
        progress(1, 1)
    assert text(stderr[0]) == ""


def test_errors_are_shown_even_so(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["--quiet", "presets", "no-such-preset"])
    assert exit_.value.code == 2 and "no-such-preset" in capsys.readouterr().err
    console.messages.quiet = False


def test_quiet_command_says_only_its_result(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["data", "prepare", "scenes", "--out", "a", "--train", "1", "--val", "1", "--size", "64x64"]
    with pytest.raises(SystemExit):
        main(["--quiet", *arguments, "--json"])
    quiet = capsys.readouterr()
    assert quiet.err == "" and '"out": "a"' in quiet.out
    with pytest.raises(SystemExit):
        main(["b" if word == "a" else word for word in arguments])
    assert "drawing: 2 of 2" in capsys.readouterr().err
