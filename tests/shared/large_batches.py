"""Trains on batches of megabytes that a process of its own reads, and prints the steps that were made."""

import sys
from dataclasses import replace
from pathlib import Path

from tiny_training import CONFIG, run, tiny_parts

with tiny_parts():
    config = replace(CONFIG, data=replace(CONFIG.data, crop=(256, 256), workers=1))
    print(run(Path(sys.argv[1]), config).progress.step)
