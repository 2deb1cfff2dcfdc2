"""Kills training at random moments and resumes it: the weights must be those of an uninterrupted run.

python benchmarks/resume.py --kills 5 --steps 40

Runs `pisr train` on small scenes in separate processes, on the CPU.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

SETTINGS = (
    "data.scenes.size=[64,64]",
    "data.crop=[64,64]",
    "train.batch_size=4",
    "train.eval_every=10",
    "train.eval_images=8",
    "train.save_every=3",
    "train.log_every=1",
)


def main() -> None:
    """Prints when each kill came, and whether every tensor is equal in the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        training(whole, arguments.steps, resume=False).wait()
        targets = sorted(moments.sample(range(1, arguments.steps - 5), arguments.kills))
        for number, target in enumerate(targets, start=1):
            process = training(broken, arguments.steps, resume=(broken / "state").exists())
            while steps_done(broken) < target and process.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 1))
            if process.poll() is not None:
                raise SystemExit("the run ended before it could be killed: give it more --steps")
            process.kill()
            process.wait()
            print(f"SIGKILL {number} at step {steps_done(broken)} of {arguments.steps}", flush=True)
        training(broken, arguments.steps, resume=True).wait()
        report(load_file(whole / "last.safetensors"), load_file(broken / "last.safetensors"))


def training(out: Path, steps: int, resume: bool) -> subprocess.Popen[bytes]:
    """A `pisr train` of its own."""
    command = [sys.executable, "-m", "pisr_cli", "train", "--preset", "scenes-pdl-r18", "--device", "cpu"]
    command += ["--out", str(out), "--max-steps", str(steps)]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    return subprocess.Popen(command + ["--resume"] * resume, stderr=subprocess.DEVNULL)


def steps_done(out: Path) -> int:
    """Steps that the log of a run tells of."""
    log = out / "metrics.jsonl"
    return log.read_bytes().count(b'"losses"') if log.exists() else 0


def report(whole: dict[str, torch.Tensor], broken: dict[str, torch.Tensor]) -> None:
    """Fails unless both have the same tensors with the same bits."""
    equal = whole.keys() == broken.keys() and all(torch.equal(whole[name], broken[name]) for name in whole)
    print(f"{len(whole)} tensors, {'all equal' if equal else 'NOT equal'}")
    raise SystemExit(0 if equal else 1)


if __name__ == "__main__":
    main()
