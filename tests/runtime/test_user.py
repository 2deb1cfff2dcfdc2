import subprocess
import sys

import pytest

NAMELESS = ("unshare", "-U", "--map-user=12345", "--map-group=12345")
"""Runs a command as a user of whom the system knows the number alone, as `docker run --user 12345` does."""

READ_ONLY = (
    *("unshare", "-Urm", "sh", "-c"),
    "mount -t tmpfs -o mode=777 tmpfs /dev/shm && mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp "
    '&& mount -o remount,bind,ro / && cd / && exec "$0" "$@"',
)
"""Runs a command where the file system is read-only; /dev/shm is one of its own."""

SAYS = """
import getpass, os, tempfile
import pisr_core
print(getpass.getuser(), tempfile.gettempdir(), os.environ.get("XDG_CACHE_HOME"), os.environ.get("MPLCONFIGDIR"))
"""


def said(*command, **environment):
    """What a process reports that has imported the package; its environment holds nothing else."""
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this kernel lets nobody be another user")
    python = ("env", "-i", *(f"{name}={value}" for name, value in environment.items()), sys.executable, "-B", "-c")
    path = f"import sys; sys.path[:0] = {sys.path!r}"
    result = subprocess.run([*command, *python, path + SAYS], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_a_user_without_a_name_gets_one_and_a_cache(tmp_path):
    folder = f"{tmp_path}/pisr-uid12345"
    assert said(*NAMELESS, HOME="/proc", TMPDIR=tmp_path) == ["uid12345", str(tmp_path), folder, f"{folder}/matplotlib"]
    assert (tmp_path / "pisr-uid12345").stat().st_mode & 0o777 == 0o700


def test_what_the_user_says_is_left_as_it_is(tmp_path):
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    assert said(*NAMELESS, HOME=home, TMPDIR=tmp_path, LOGNAME="me") == ["me", str(tmp_path), "None", "None"]
    of_cache = said(*NAMELESS, HOME="/proc", TMPDIR=tmp_path, XDG_CACHE_HOME=cache)
    assert of_cache == ["uid12345", str(tmp_path), str(cache), "None"]


def test_a_read_only_file_system_leaves_shared_memory():
    expected = ["uid12345", "/dev/shm", "/dev/shm/pisr-uid12345", "/dev/shm/pisr-uid12345/matplotlib"]
    assert said(*READ_ONLY, *NAMELESS, HOME="/") == expected
