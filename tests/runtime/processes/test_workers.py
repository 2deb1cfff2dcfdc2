import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pisr_core.errors import DataError
from pisr_core.runtime.processes import workers
from pisr_core.runtime.processes.parallel import parallel_map
from pisr_core.runtime.processes.workers import Work, Workers, bounded

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
STARTS_WORKERS = """
import multiprocessing, time
from pisr_core.runtime.processes.workers import Work, Workers
with Workers(Work([[60]] * 3, time.sleep, list), 3, "workers", str):
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""
HAS_FEW_FILES = """
import os, resource
from pisr_core.runtime.processes.workers import Work, Workers
most = len(os.listdir("/dev/fd")) + 20
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
with Workers(Work([[n] for n in range(6)], lambda n: (n, os.getpid()), list), 5, "workers", str) as some:
    done = [value for [value] in some.results()]
print([n for n, _ in done] == list(range(6)), len({pid for _, pid in done}), os.getpid() in {pid for _, pid in done})
"""


def results(tasks, do, count, patience=10, gather=list):
    with Workers(Work(tasks, do, gather), count, "--set data.workers", "image {}".format, patience) as processes:
        return list(processes.results())


def at(wanted, act, number):
    """The number, after something happened at the wanted one."""
    if number == wanted:
        act()
    return number


def kill_self(number):
    faulthandler.disable()
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_results_come_in_the_order_of_the_tasks(count):
    tasks = [[1, 2], [3], [4, 5, 6], [7], [8]]
    assert results(tasks, lambda n: n * n, count, gather=sum) == [5, 9, 77, 49, 64]
    assert results([], abs, count) == []


def test_arrays_and_tensors_arrive_as_they_were_sent():
    def make(n):
        return {"tensor": torch.arange(n * 70_000).reshape(n, -1), "array": np.eye(n, dtype=np.int32)[:, ::-1], "n": n}

    for n, [value] in zip((1, 3, 2), results([[1], [3], [2]], make, 2), strict=True):
        expected = make(n)
        assert torch.equal(value["tensor"], expected["tensor"]) and value["tensor"].dtype == torch.int64
        assert (value["array"] == expected["array"]).all() and value["n"] == n
        value["tensor"] += 1  # may be written to


def test_nothing_of_a_result_lies_in_shared_memory(monkeypatch):
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", None)
    monkeypatch.setattr(torch.UntypedStorage, "_share_filename_cpu_", None)
    [[value]] = results([[7]], lambda n: torch.full((1000,), n), 1)
    assert value.tolist() == [7] * 1000


@pytest.mark.parametrize("error", [DataError("im0.png: cut short"), ZeroDivisionError("division by zero")])
def test_an_error_arrives_as_it_was_raised(error):
    def fail():
        raise error

    with pytest.raises(type(error), match=str(error)) as caught:
        results([[0], [1, 2]], partial(at, 2, fail), 2)
    assert "in fail\n    raise error" in caught.value.__notes__[0]


class OddError(Exception):
    """Cannot be made anew from its message."""

    def __init__(self, file, line):
        super().__init__(f"{file}: line {line}")


def test_an_error_that_cannot_be_pickled_arrives_too():
    def fail():
        raise OddError("a", 3)

    with pytest.raises(RuntimeError, match="OddError: a: line 3"):
        results([[0]], partial(at, 0, fail), 1)
    with pytest.raises(TypeError, match="cannot pickle"):
        results([[0]], lambda n: threading.Lock(), 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS, signal.SIGSEGV])
def test_the_death_of_a_process_names_the_signal_and_the_image(number):
    wanted = rf"process died \({signal.Signals(number).name}\) at image 4\..*fewer with --set data\.workers=N"
    start = time.monotonic()
    with pytest.raises(DataError, match=wanted):
        results([[0, 1], [2, 3], [4, 5]], partial(at, 4, partial(kill_self, number)), 2)
    assert time.monotonic() - start < 5


def test_a_process_that_dies_in_the_middle_of_a_result_is_noticed():
    def big(n):
        threading.Timer(0.2, kill_self, [signal.SIGKILL]).start()
        return np.ones(50_000_000, np.uint8)  # more than goes into the socket at once

    with Workers(Work([[0]], big, list), 1, "workers", "image {}".format) as processes:
        time.sleep(1)
        with pytest.raises(DataError, match=r"died \(SIGKILL\) at image 0"):
            next(processes.results())


def test_a_process_that_stands_still_is_noticed():
    start = time.monotonic()
    with pytest.raises(DataError, match="image 3: not read after 1 s: its disk, network or file system hangs"):
        results([[0, 1], [2, 3]], partial(at, 3, partial(kill_self, signal.SIGSTOP)), 2, patience=1)
    assert time.monotonic() - start < 5


@pytest.mark.skipif(sys.platform != "linux", reason="has no leases")
def test_a_file_that_does_not_open_is_noticed(tmp_path):
    """The system holds up whoever opens a file that another process has a lease of."""
    import fcntl

    path = tmp_path / "image.png"
    path.touch()
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with path.open("r+b") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            with pytest.raises(DataError, match="image.png: not read after 1 s"):
                results([[path]], Path.read_bytes, 1, patience=1)
    finally:
        signal.signal(signal.SIGIO, before)


def test_patience_is_for_each_part():
    def slow(n):
        time.sleep(0.7)
        return n

    assert results([[0, 1, 2]], slow, 1, patience=2) == [[0, 1, 2]]


def test_the_death_of_a_process_of_a_map_is_told_as_well():
    with pytest.raises(DataError, match=r"died \(SIGKILL\) at 5\..*fewer with --workers=N"):
        list(parallel_map(partial(at, 5, partial(kill_self, signal.SIGKILL)), range(8), 2))


def gone(process):
    """Whether it has ended; what its parent never asked for stays as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells nothing of processes")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_parent(number):
    with subprocess.Popen([sys.executable, "-c", STARTS_WORKERS], stdout=subprocess.PIPE, text=True) as parent:
        processes = parent.stdout.readline().split()
        assert len(processes) == 3 and not any(map(gone, processes))
        parent.send_signal(number)
    wait_until(lambda: all(map(gone, processes)))


def test_where_few_files_may_be_open_fewer_processes_do_all():
    result = subprocess.run([sys.executable, "-c", HAS_FEW_FILES], capture_output=True, text=True, timeout=60)
    assert result.stdout == "True 1 False\n"
    assert "workers: 1 of 5 processes could be started: too few files may be open (`ulimit -n`)" in result.stderr


def test_where_no_process_can_be_started_this_one_does_all(monkeypatch, caplog):
    def refuse(self):
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(workers.multiprocessing.Process, "start", refuse)
    for _ in range(2):
        assert results([[1], [2]], lambda n: (n, os.getpid()), 2) == [[(1, os.getpid())], [(2, os.getpid())]]
    assert [record.message for record in caplog.records] == [
        "--set data.workers: none of 2 processes could be started: Resource temporarily unavailable"
    ]


def test_a_typo_does_not_start_thousands(caplog):
    assert bounded(CORES, "--workers") == CORES and not caplog.records
    assert bounded(CORES + 1, "--workers") == CORES + 1
    assert bounded(100_000, "--workers") == 4 * CORES
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        f"--workers = {CORES + 1}",
        "--workers = 100000",
    ]
