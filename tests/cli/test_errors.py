import pytest

from pisr_cli.terminal.errors import exit_codes
from pisr_core.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("[bad] file"), 2, "error: [bad] file"),
        (ConfigError("no"), 2, "error: no"),
        (PermissionError(13, "denied", "x"), 2, "error: x: Permission denied. Choose another folder, or have its"),
        (FileExistsError(17, "exists", "/dev/null"), 2, "error: /dev/null: /dev/null is a file, not a folder. Move it"),
        (OSError(28, "full"), 2, "error: No space left on device. Free some space there or choose another folder."),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_known_exceptions_become_exit_codes(error, code, message, capsys):
    with pytest.raises(SystemExit) as exit_, exit_codes():
        raise error
    assert exit_.value.code == code
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("error", [ZeroDivisionError(), FileNotFoundError(2, "gone", "x"), BrokenPipeError(32, "shut")])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)), exit_codes():
        raise error
