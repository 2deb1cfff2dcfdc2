"""The start of `pisr predict`: from the command to the first map, and which imports that time goes to (Linux).

python benchmarks/start.py
git worktree add before COMMIT && python benchmarks/start.py --before before

One image of 128×128 and a network with a ResNet-18, so that nearly all of it is the start. With `--before` the
commands of both trees run in turn, and ratios are medians of pairs. Other work on the machine lengthens the wall time;
the processor's time less so.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.data.scenes.dataset import SceneDataset
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint

HERE = Path(__file__).parents[1]
APART = "torch._dynamo"
"""Of torch, but imported by who needs it."""


@dataclass(frozen=True)
class Start:
    """Seconds of one command.

    Attributes:
        wall: to the first map.
        processor: of all cores, to the first map.
        whole: of all cores, to the command's end.
    """

    wall: float
    processor: float
    whole: float


def main() -> None:
    """Prints a line for each tree, the ratio, and the imports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another tree, to compare with")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    trees = {"now": HERE} | ({} if arguments.before is None else {"before": arguments.before.resolve()})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        starts: dict[str, list[Start]] = {tree: [] for tree in trees}
        for run in range(arguments.runs + 1):  # the first reads files that the others find in memory
            for tree, path in trees.items():
                start = first_map(path, folder, folder / f"{tree}-{run}")
                starts[tree] += [start][: run > 0]
        for tree, measured in starts.items():
            wall, processor, whole = (statistics.median(values) for values in columns(measured))
            print(
                f"{tree:8} first map after {wall:5.2f} s, {processor:5.2f} s of the processor; "
                f"{whole:5.2f} s of the processor in all"
            )
        if arguments.before is not None:
            pairs = zip(columns(starts["now"]), columns(starts["before"]), strict=True)
            ratios = [statistics.median(a / b for a, b in zip(*pair, strict=True)) for pair in pairs]
            print("now/before       {:5.2f}    {:5.2f}                      {:5.2f}".format(*ratios))
        for tree, path in trees.items():
            show_imports(tree, import_times(path, folder, folder / f"{tree}-imports"))


def columns(starts: list[Start]) -> list[list[float]]:
    """The values of all runs, by kind."""
    return [[start.wall for start in starts], [start.processor for start in starts], [start.whole for start in starts]]


def write_inputs(folder: Path) -> None:
    """An image and a network with random weights."""
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false"])
    torch.manual_seed(0)
    state = build_model(config, SCENE_CATEGORIES).state_dict()
    save_checkpoint(folder / "network.safetensors", state, config, SCENE_CATEGORIES, {})
    image = SceneDataset(config.data.scenes, "val")[0].image
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / "scene.png")


def command(tree: Path, folder: Path, out: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    """The command and its environment."""
    words = ["predict", "scene.png", "--checkpoint", "network.safetensors", "--device", "cpu", "--out", str(out)]
    return [sys.executable, *options, "-m", "pisr_cli", *words], {**os.environ, "PYTHONPATH": str(tree)}


def first_map(tree: Path, folder: Path, out: Path) -> Start:
    """Runs the command and watches for its map."""
    words, environment = command(tree, folder, out)
    begin = time.perf_counter()
    process = subprocess.Popen(words, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    found = out / "panoptic" / "scene.png"
    while not found.exists():
        if process.poll() is not None:
            raise SystemExit(process.stderr.read().decode() if process.stderr else "")
        time.sleep(0.005)
    wall = time.perf_counter() - begin
    ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    processor = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    _, _, usage = os.wait4(process.pid, 0)
    return Start(wall, processor, usage.ru_utime + usage.ru_stime)


def import_times(tree: Path, folder: Path, out: Path) -> Counter[str]:
    """Seconds of imports by the package that our code imports; what it imports itself counts for it."""
    words, environment = command(tree, folder, out, "-X", "importtime")
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    lines = re.findall(r"^import time: +(\d+) \| +\d+ \| ( *)(\S+)$", done.stderr, re.MULTILINE)
    times: Counter[str] = Counter()
    owners: list[str] = []
    for microseconds, indent, module in reversed(lines):  # who imports comes before what it imports
        package = module.partition(".")[0]
        depth = len(indent) // 2
        parent = owners[depth - 1] if depth else "pisr"
        own = "pisr" if package.startswith("pisr") or package in sys.stdlib_module_names else package
        owner = APART if module.startswith(APART) else own if parent == "pisr" else parent
        owners[depth:] = [owner]
        times[owner] += int(microseconds) / 1e6
    return times


def show_imports(tree: str, times: Counter[str]) -> None:
    """The packages that take longest."""
    total = sum(times.values())
    print(f"{tree}: imports {total:.2f} s of wall time, as Python counts them (which takes time as well)")
    for package, seconds in times.most_common(10):
        print(f"  {package:16} {seconds:5.2f} s {seconds / total:5.0%}")


if __name__ == "__main__":
    main()
