import subprocess
import sys
import threading
import time

import pytest

from pisr_core.errors import DataError
from pisr_core.runtime import patience
from pisr_core.runtime.patience import HangingError, in_time, waited_for, worker_pool
from pisr_core.runtime.pipeline import mapped_ahead, read_ahead

HANGS = """
import os, sys
from pisr_core.errors import DataError
from pisr_core.runtime import patience
from pisr_core.runtime.processes.workers import Work, Workers
patience.SECONDS_TO_END = 0.1
with Workers(Work([["a"], ["b", sys.argv[1]]], open, list), 0, "--workers", "file {}".format, 1) as alone:
    try:
        list(alone.results())
    except DataError as error:
        sys.exit(str(error))
"""


@pytest.fixture
def hang(monkeypatch):
    """Work that hangs until the test is over."""
    monkeypatch.setattr(patience, "SECONDS_TO_END", 0.1)
    over = threading.Event()
    yield over.wait
    over.set()


def test_a_process_ends_that_waits_for_a_file_by_itself(tmp_path):
    """A pipe that nobody writes to stands for a file whose disk is dead."""
    for name in "ab":
        (tmp_path / name).touch()
    subprocess.run(["mkfifo", tmp_path / "pipe"], check=True)
    ended = subprocess.run(
        [sys.executable, "-c", HANGS, "pipe"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.startswith("file pipe: not read after 1 s: its disk, network or file system hangs.")


def test_work_that_goes_on_is_waited_for():
    """Each file has its own time, and what waits for a thread has not begun."""

    def read(tell):
        for name in "abc":
            tell(name)
            time.sleep(0.6)
        return "done"

    assert in_time(read, 1) == "done"
    with worker_pool(1) as pool:
        pool.submit(time.sleep, 1.2)
        assert waited_for(pool.submit(abs, -3), 1, lambda: "x") == 3


def test_the_file_that_hangs_is_named(hang):
    def read(tell):
        for name in "ab":
            tell(name)
        hang()

    with pytest.raises(HangingError, match=r"^b: not read after 1 s.*, or wait longer: --more\.$"):
        in_time(read, 1, "--more")


def test_neither_reader_is_waited_for(hang):
    """Of a dead disk several threads wait, one of which is in a generator that nobody closes."""

    def items():
        yield from (1, 2, 3)
        hang()

    def work(item):
        return hang() if item == 2 else item

    start = time.monotonic()
    with pytest.raises(HangingError, match="^image 2: not read"), worker_pool(2) as pool:
        ahead = read_ahead(items(), 1, 30, at=lambda: "4")
        list(mapped_ahead(work, ahead, pool, 1, patience=1, name="image {}".format))
    assert time.monotonic() - start < 10


def test_errors_of_the_work_are_its_own():
    def fail(tell):
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        in_time(fail, 1)
    with pytest.raises(DataError, match="broken"):
        in_time(lambda tell: (_ for _ in ()).throw(DataError("broken")), 0)
