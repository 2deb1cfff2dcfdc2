import pytest
from json_schemas import check_document

from pisr_cli.app import main


@pytest.fixture
def pisr(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder and gives its (exit code, stdout, stderr); `--json` must keep to its schema."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        words = [str(argument) for argument in arguments]
        with pytest.raises(SystemExit) as exit_:
            main(words)
        captured = capsys.readouterr()
        if "--json" in words and captured.out:
            check_document(words, captured.out)
        return exit_.value.code or 0, captured.out, captured.err

    return run
