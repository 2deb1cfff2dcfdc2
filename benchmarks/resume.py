"""Kills training at random moments, in the middle of writing too, and resumes it.

python benchmarks/resume.py --kills 60 --seed 0

Every run must end as an uninterrupted one does, bit for bit: the last and the best weights, the whole state (weights,
optimiser, schedule, averaged weights) and the metrics. Runs `pisr train` on small scenes and on the CPU, each time in a
process of its own, forked from this one so that starting takes no time; SIGKILL ends it. As many runs are made as the
kills need.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pisr_cli.app import main as pisr
from pisr_core.training import train as trainer  # noqa: F401 (imported once, for all forks)
from pisr_core.training.state import RunFolder

SETTINGS = (
    "data.scenes.size=[64,64]",
    "data.crop=[64,64]",
    "train.batch_size=2",
    "train.eval_every=10",
    "train.eval_images=2",
    "train.save_every=3",
    "train.log_every=1",
)
LONGEST_WAIT = 0.5
"""Seconds after the chosen step within which a process is killed that is not killed while it writes."""


@dataclass(frozen=True)
class Kill:
    """When a process died.

    Attributes:
        step: steps that the metrics told of.
        writing: names of files that lay half-written.
    """

    step: int
    writing: list[str]

    def __str__(self) -> str:
        moment = f"while writing {', '.join(self.writing)}" if self.writing else "between writes"
        return f"at step {self.step}, {moment}"


def main() -> None:
    """Prints the moments of all kills, and whether all ends are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--steps", type=int, default=60, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    moments, kills, start = random.Random(arguments.seed), [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        whole = RunFolder(Path(folder, "whole"))
        run_to_its_end(whole, arguments.steps)
        runs = 0
        while len(kills) < arguments.kills:
            runs += 1
            broken = RunFolder(Path(folder, f"run{runs}"))
            for kill in killed_again_and_again(broken, arguments.steps, arguments.kills - len(kills), moments):
                kills.append(kill)
                print(f"SIGKILL {len(kills)} in run {runs} {kill}", flush=True)
            for what, equal in comparisons(whole, broken).items():
                print(f"run {runs}: {what} {'equal' if equal else 'NOT EQUAL'}", flush=True)
                if not equal:
                    raise SystemExit(1)
    writing = sum(bool(kill.writing) for kill in kills)
    seconds = time.monotonic() - start
    print(f"{len(kills)} kills survived, {writing} of them while writing, in {runs} runs; {seconds:.0f} s")


def killed_again_and_again(folder: RunFolder, steps: int, most: int, moments: random.Random) -> list[Kill]:
    """Makes a run to its end, through at most so many kills."""
    kills: list[Kill] = []
    while len(kills) < most:
        process = started(folder, steps, workers=moments.randrange(2))
        if not killed(process, folder, moments):
            return kills
        kills.append(Kill(steps_done(folder), [named(part) for part in parts(folder)]))
    run_to_its_end(folder, steps)
    return kills


def killed(process: int, folder: RunFolder, moments: random.Random) -> bool:
    """Waits for a random moment: some steps on, and then a little later or while a file is half-written.

    Returns:
        Whether the process was killed, and did not end before.
    """
    step = steps_done(folder) + moments.randrange(-1, 4)
    while_writing, wait = moments.random() < 0.5, moments.uniform(0.0, LONGEST_WAIT)
    reached: float | None = None
    while (code := finished(process)) is None:
        if reached is None and steps_done(folder) >= step:
            reached = time.monotonic()
        if reached is not None and (parts(folder) if while_writing else time.monotonic() > reached + wait):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return True
        time.sleep(0.0005)
    check(code)
    return False


def run_to_its_end(folder: RunFolder, steps: int) -> None:
    """Starts or resumes a run and lets it be."""
    _, status = os.waitpid(started(folder, steps, workers=0), 0)
    check(os.waitstatus_to_exitcode(status))


def check(code: int) -> None:
    """Ends this program when a training did not end well."""
    if code:
        raise SystemExit(f"a training ended with exit code {code}")


def started(folder: RunFolder, steps: int, workers: int) -> int:
    """The id of a new process that does `pisr train`."""
    process = os.fork()
    if process:
        return process
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())
    command = ["train", "--preset", "scenes-pdl-r18", "--device", "cpu", "--out", str(folder.path)]
    command += ["--max-steps", str(steps), "--set", f"data.workers={workers}"]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    command += ["--resume"] * folder.state.exists()
    try:
        pisr(["--quiet", *command])
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(1)


def finished(process: int) -> int | None:
    """The exit code of a process that has ended by itself."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def parts(folder: RunFolder) -> list[Path]:
    """Files that are being written."""
    return [path for path in (*folder.path.glob(".*.part"), *folder.state.parent.glob(".*.part"))]


def named(part: Path) -> str:
    """`training.pt` for `.training.pt.123.part`."""
    return part.name[1:].rsplit(".", 2)[0]


def steps_done(folder: RunFolder) -> int:
    """Steps that the metrics of a run tell of."""
    return folder.metrics.read_bytes().count(b'"losses"') if folder.metrics.exists() else 0


def comparisons(whole: RunFolder, broken: RunFolder) -> dict[str, bool]:
    """What two runs left, and whether it is the same."""
    states = [torch.load(run.state, weights_only=True) for run in (whole, broken)]
    for state in states:
        settings = json.loads(state["identity"])
        settings["data"]["workers"] = None  # it changes no number, and was changed
        state["identity"] = settings
    return {
        "last weights": tensors(whole.last) == tensors(broken.last),
        "best weights": tensors(whole.best) == tensors(broken.best),
        "state": same(*states),
        "metrics": metrics(whole) == metrics(broken),
    }


def tensors(checkpoint: Path) -> bytes:
    """All bytes of a safetensors file behind its header, which holds the settings."""
    content = checkpoint.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def metrics(run: RunFolder) -> list[dict[str, Any]]:
    """The lines of a run's metrics without what the clock said."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
        line.get("evaluation", {}).pop("seconds", None)
    return lines


def same(first: Any, second: Any) -> bool:
    """Whether two trees of plain values and tensors are equal to the bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


if __name__ == "__main__":
    main()
