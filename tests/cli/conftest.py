import pytest

from pisr_cli.app import main


@pytest.fixture
def pisr(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder and gives its (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run
