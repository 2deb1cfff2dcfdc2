"""Everything that is worth measuring on a GPU, in one call of a few minutes.

python benchmarks/on_gpu.py --out results --minutes 8
python benchmarks/on_gpu.py --out rehearsal --rehearse
python benchmarks/on_gpu.py --out results --parts table4 merging

Parts run in the order of their worth, each in a process of its own with a time limit. Each row of a part is written
when it is measured: `NAME.json`, with the card, its driver and torch, `NAME.md` (a table) and `NAME.log`. A part that
fails or takes too long ends by itself; `summary.md` names it, and those for which no time was left. --rehearse goes
through all of it on small inputs, on any device: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

PARTS = {
    "ceilings": ("prediction", 20),
    "table4": ("prediction", 150),
    "merging": ("prediction", 30),
    "end_to_end": ("prediction", 45),
    "agreement": ("learning", 75),
    "steps": ("learning", 120),
    "kernels": ("prediction", 40),
    "step_kernels": ("learning", 40),
    "relation": ("commands", 50),
    "tests": ("commands", 60),
    "photos": ("commands", 120),
    "commands": ("commands", 150),
    "resume": ("commands", 150),
    "nccl": ("commands", 60),
    "peers": ("prediction", 90),
    "study": ("commands", 600),
}
"""The parts in the order of their worth: the module of `gpu` that has it, and the most seconds that it gets."""

LEAST = 5.0
"""Seconds that must be left for a part to begin."""


@dataclass
class Outcome:
    """What became of a part."""

    part: str
    status: str
    seconds: float
    rows: int


def main() -> None:
    """Runs the parts, or within one of their processes the part itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--rehearse", action="store_true", help="small inputs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.only:
        run_here(arguments.only, arguments.out, arguments.rehearse)
    else:
        outcomes = run_all(arguments.parts, arguments.out, arguments.rehearse, 60 * arguments.minutes)
        raise SystemExit(any(outcome.status != "done" for outcome in outcomes))


def run_here(name: str, out: Path, rehearse: bool) -> None:
    """One part, in this process."""
    from gpu.part import Part

    work: Callable[[Part], None] = getattr(import_module(f"gpu.{PARTS[name][0]}"), name)
    work(Part(name, out.resolve(), rehearse))


def run_all(names: list[str], out: Path, rehearse: bool, seconds: float) -> list[Outcome]:
    """The parts one after another, as long as there is time. Writes the summary after each."""
    end = time.monotonic() + seconds
    outcomes: list[Outcome] = []
    for name in names:
        left = end - time.monotonic()
        outcomes.append(
            Outcome(name, "no time was left", 0.0, 0) if left < LEAST else run_part(name, out, rehearse, left)
        )
        print(f"== {name}: {outcomes[-1].status}, {outcomes[-1].seconds:.0f} s, {outcomes[-1].rows} rows", flush=True)
        (out / "summary.md").write_text(summary(outcomes, out))
    return outcomes


def run_part(name: str, out: Path, rehearse: bool, left: float) -> Outcome:
    """One part in a process of its own, with all that it starts."""
    command = [sys.executable, "-W", "ignore", __file__, "--only", name, "--out", str(out), *["--rehearse"] * rehearse]
    for old in (out / f"{name}.json", out / f"{name}.md"):
        old.unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    }
    start = time.monotonic()
    with (out / f"{name}.log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment)
        try:
            code: int | None = child.wait(left if rehearse else min(left, PARTS[name][1]))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_group(child)
    status = "did not end in time" if code is None else "done" if code == 0 else reason(out / f"{name}.log", code)
    results = out / f"{name}.json"
    rows = len(json.loads(results.read_text())["rows"]) if results.exists() else 0
    return Outcome(name, status, time.monotonic() - start, rows)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Ends a part and whatever it left running."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def reason(log: Path, code: int) -> str:
    """The last line that a failed part printed."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
    return f"failed ({code}): {lines[-1][:200]}"


def summary(outcomes: list[Outcome], out: Path) -> str:
    """What became of each part, and the tables of those that have rows."""
    lines = ["| part | outcome | s | rows |\n| --- | --- | --- | --- |\n"]
    lines += [f"| {one.part} | {one.status} | {one.seconds:.0f} | {one.rows} |\n" for one in outcomes]
    for one in outcomes:
        results = out / f"{one.part}.json"
        if one.rows and results.exists():
            found = json.loads(results.read_text())
            where = ", ".join(f"{key} {found[key]}" for key in ("device", "driver", "torch") if found.get(key))
            note = "; a rehearsal, whose numbers mean nothing" if found["rehearsal"] else ""
            lines.append(f"\n## {one.part}\n\n{where}{note}\n\n{(out / f'{one.part}.md').read_text()}")
    return "".join(lines)


if __name__ == "__main__":
    main()
