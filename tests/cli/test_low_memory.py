import resource
import subprocess
import sys
from importlib import import_module

import pytest

from pisr_cli.terminal import low_memory
from pisr_cli.terminal.errors import exit_codes
from pisr_core.errors import DeviceError


@pytest.mark.parametrize("gigabytes", [0.3, 3])  # so little that a library does not load, aborts
def test_little_memory_ends_in_a_message(gigabytes):
    limit = f"ulimit -v {int(gigabytes * 2**20)} && exec "
    command = ["sh", "-c", limit + '"$0" "$@"', sys.executable, "-m", "pisr_cli", "env"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if result.returncode == 0:
        pytest.skip("this build of torch needs less")
    assert result.returncode == 2, result.stderr
    assert "out of memory while" in result.stderr and f"{gigabytes:.1f} GiB" in result.stderr
    assert "Traceback" not in result.stderr and "`ulimit -v unlimited`" in result.stderr


def import_that_raises(error, tmp_path, monkeypatch):
    (tmp_path / "large_library.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    with exit_codes():
        import_module("large_library")


@pytest.mark.parametrize(
    "error",
    [
        "MemoryError()",
        "RuntimeError('std::bad_alloc')",
        "ImportError('x.so: failed to map segment')",
        "OSError(12, 'Cannot allocate memory', '/lib')",
    ],
)
def test_an_import_that_fails_after_its_trial_ends_in_the_same_message(error, tmp_path, monkeypatch, capsys):
    """As by chance where memory just suffices: places are drawn by lot."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (3 * 2**30, resource.RLIM_INFINITY))
    with pytest.raises(SystemExit, match="2"):
        import_that_raises(error, tmp_path, monkeypatch)
    said = capsys.readouterr().err
    assert "out of memory while the libraries were loaded: this shell lets a process address 3.0 GiB" in said


@pytest.mark.parametrize(
    ("error", "told"), [("RuntimeError('Unable to instantiate PyTypeObject')", True), ("ImportError('no such')", False)]
)
def test_in_its_trial_a_library_says_all_kinds_of_things_without_memory(error, told, tmp_path, monkeypatch):
    (tmp_path / "large_library.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [low_memory._Trial(3 * 2**30), *sys.meta_path])
    sys.meta_path[0].untried.add("large_library")
    with pytest.raises(DeviceError if told else ImportError, match="large_library was loaded" if told else "no such"):
        import_module("large_library")


def test_other_failures_stay_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (3 * 2**30, resource.RLIM_INFINITY))
    with pytest.raises(ImportError, match="no such name"):
        import_that_raises("ImportError('no such name')", tmp_path, monkeypatch)
    with pytest.raises(RuntimeError, match="bad_alloc"), exit_codes():
        raise RuntimeError("std::bad_alloc")  # outside an import
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with pytest.raises(ImportError, match="failed to map"):
        import_that_raises("ImportError('failed to map segment')", tmp_path, monkeypatch)
