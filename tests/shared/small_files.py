"""Trains under limits of the size of each file, continues without, and prints which files hit them as JSON."""

import json
import re
import resource
import tempfile
from pathlib import Path

from tiny_training import assert_same_run, run, tiny_parts

from pisr_core.errors import OutputError
from pisr_core.training.listeners import TrainListener

CASES = ((0, 100), (0, 5_000), (1, 200), (2, 2_500), (3, 2_500), (5, 8_000))
"""Steps after which no file may grow beyond so many bytes."""


def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class LimitAfter(TrainListener):
    def __init__(self, step, size):
        self.step, self.size = step, size

    def on_step(self, record):
        if record.step == self.step:
            limit_files(self.size)


def full_file(whole, out, step, size):
    """The file that could not be written, once the run has been continued to its equal end."""
    if step == 0:
        limit_files(size)
    try:
        run(out, listeners=[LimitAfter(step, size)])
    except OutputError as error:
        message = str(error)
    limit_files(resource.RLIM_INFINITY)
    run(out, resume=(out / "state" / "training.pt").exists())
    assert_same_run(whole, out)
    return re.match(r"(\S+): cannot be written", message)[1].rpartition("/")[2]


with tiny_parts(), tempfile.TemporaryDirectory() as folder:
    run(Path(folder, "whole"))
    files = [full_file(Path(folder, "whole"), Path(folder, "-".join(map(str, case))), *case) for case in CASES]
print(json.dumps(files))
