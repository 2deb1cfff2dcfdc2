import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pisr_core.runtime.devices.allocation import keep_freed_memory, keep_network_memory

COUNTED = """
import resource
from pisr_core.runtime.devices.allocation import keep_freed_memory, keep_network_memory

{settings}
for _ in range(3):
    [b"1" * {size} for _ in range(4)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({times}):
    [b"1" * {size} for _ in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(settings, size, times):
    """Pages that were cleared for four arrays of so many bytes, again and again."""
    code = COUNTED.format(settings=settings, size=size, times=times)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_arrays_that_come_and_go_use_the_same_pages():
    assert faults("keep_freed_memory()", 1_200_000, 50) < 1200  # four arrays have 1172 pages
    assert faults("", 1_200_000, 50) > 5000


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_maps_of_any_size_use_the_same_pages_until_it_is_taken_back():
    size, pages = 72_000_000, 4 * 72_000_000 // 4096  # above the largest threshold of glibc
    assert faults("keep_network_memory()", size, 1) < pages / 10
    assert faults("keep_network_memory(); keep_network_memory(False)", size, 1) >= 0.95 * pages
    assert faults("keep_freed_memory()", size, 1) >= 0.95 * pages


def test_a_network_s_memory_is_kept_and_given_back(monkeypatch):
    settings = {}
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(
        ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=lambda *setting: settings.update([setting]) or 1)
    )
    keep_network_memory()
    assert settings == {-3: 64 * 2**20, -4: 0, -1: -1}
    keep_network_memory(False)
    assert settings == {-3: 64 * 2**20, -4: 65536, -1: 64 * 2**20}


@pytest.mark.parametrize(("most", "kept"), [(2**40, 64), (2**25, 32), (0, None)])
def test_a_limit_of_glibc_is_heeded(monkeypatch, most, kept):
    """Thresholds above it are refused; then the one of trimming is not set alone."""
    settings = {}

    def mallopt(name, value):
        taken = name == -1 or value <= most
        settings.update({name: value} if taken else {})
        return taken

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    keep_freed_memory()
    assert settings == ({} if kept is None else {-3: kept * 2**20, -1: kept * 2**20})
