import subprocess
import sys

import pytest


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
