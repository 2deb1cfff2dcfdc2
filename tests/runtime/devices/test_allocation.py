import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pisr_core.runtime.devices.allocation import keep_freed_memory

COUNTED = """
import resource
import numpy as np
from pisr_core.runtime.devices.allocation import keep_freed_memory

if {keep}:
    keep_freed_memory()
for _ in range(20):
    [np.ones(300_000, np.int32) for _ in range(4)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    [np.ones(300_000, np.int32) for _ in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_arrays_that_come_and_go_use_the_same_pages():
    def faults(keep):
        code = COUNTED.format(keep=keep)
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    assert faults(keep=True) < 1200  # four arrays have 1172 pages
    assert faults(keep=False) > 5000


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
