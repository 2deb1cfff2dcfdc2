import subprocess
import sys

import pytest

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
