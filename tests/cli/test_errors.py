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


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--preset", "scenes-pdl-r18", "--out", "taken"),
        ("predict", "x.png", "--out", "taken/below"),
        ("export", "--out", "taken/model.onnx"),
        ("ablate-k", "--range", "10..20", "--out", "taken"),
        ("study", "--preset", "scenes-pdl-r18", "--out", "taken"),
        ("visualize-heatmaps", "x.png", "--out", "taken"),
        ("eval", "--out", "taken"),
    ],
    ids=lambda command: command[0],
)
def test_what_is_in_the_way_of_results_is_told_before_the_work(pisr, tmp_path, command):
    (tmp_path / "taken").touch()
    code, out, err = pisr(*command)
    assert (code, out) == (2, "")
    reason = "taken is a file, not a folder"
    assert err == f"error: {command[-1]}: cannot be written ({reason}). Move it away or choose another folder.\n"
