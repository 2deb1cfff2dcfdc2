import errno
import os
import resource
import subprocess
import sys

import pytest

from pisr_core.errors import OutputError
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.processes.locking import only_process

WRITES_AS_ANOTHER_USER = """
import os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from pisr_core.runtime.atomic import written_whole
os.setuid(12345)
try:
    with written_whole(Path(sys.argv[1])) as part:
        part.write_text("text")
except Exception as error:
    print(type(error).__name__, error)
"""


def message(path, use=written_whole):
    with pytest.raises(OutputError) as caught, use(path) as part:
        part.write_text("text")
    return str(caught.value)


@pytest.mark.parametrize("use", [written_whole, only_process])
@pytest.mark.parametrize("name", ["file/out.txt", "file/run/state/out.txt"])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, use, name):
    (tmp_path / "file").touch()
    assert message(tmp_path / name, use) == (
        f"{tmp_path / name}: cannot be written ({tmp_path}/file is a file, not a folder). "
        "Move it away or choose another folder."
    )


def test_a_folder_where_a_file_should_be_is_named(tmp_path):
    (tmp_path / "out").mkdir()
    assert message(tmp_path / "out") == (
        f"{tmp_path}/out: cannot be written (it is a folder). Move it away or choose another name."
    )


def test_a_name_that_is_too_long(tmp_path):
    assert "(File name too long). Choose a shorter name." in message(tmp_path / ("a" * 300))


def test_a_link_to_itself(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert "loop is a file, not a folder). Move it away" in message(tmp_path / "loop" / "out")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_no_permission(tmp_path):
    script = WRITES_AS_ANOTHER_USER.format(path=sys.path)
    result = subprocess.run([sys.executable, "-B", "-c", script, "/out.txt"], capture_output=True, text=True)
    assert result.stdout == (
        "OutputError /out.txt: cannot be written (Permission denied). "
        "Choose another folder, or have its owner let you write there.\n"
    ), result.stderr


def test_too_many_open_files(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_file = os.dup(0)
    os.close(next_file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_file, limits[1]))
    try:
        said = message(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "(Too many open files). Let more files be open at once (`ulimit -n`)." in said


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (errno.ENOSPC, r"No space left on device\). Free some space there"),
        (errno.EROFS, r"Read-only file system\). Choose a folder elsewhere"),
        (errno.EXDEV, r"Invalid cross-device link\). Choose another folder\."),
    ],
)
def test_what_the_system_says_has_its_own_cure(tmp_path, monkeypatch, code, cure):
    def fail(file):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=cure), written_whole(tmp_path / "out") as part:
        part.write_text("text")
