import pytest

from pisr_cli.terminal.errors import exit_codes
from pisr_core.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("[bad] file"), 2),
        (ConfigError("no"), 2),
        (PermissionError(13, "denied", "x"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_known_exceptions_become_exit_codes(error, code, capsys):
    with pytest.raises(SystemExit) as exit_, exit_codes():
        raise error
    assert exit_.value.code == code
    assert str(error) in capsys.readouterr().err


def test_bugs_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), exit_codes():
        raise ZeroDivisionError
