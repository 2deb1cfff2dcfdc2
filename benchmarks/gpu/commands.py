"""Parts that run the commands as a user does, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from gpu.part import Part, complain

PROJECT = Path(__file__).parents[2]


def pisr(part: Part, name: str, *arguments: object, after: float | None = None, limit: float = 120) -> int:
    """Runs a command and adds a row; its output is kept in `commands/NAME.log`.

    Args:
        part: whose row.
        name: of the row.
        arguments: of `pisr`; the part's device is added by those that take one.
        after: kill it after so many seconds.
        limit: stop it then.
    """
    return process(part, name, [sys.executable, "-m", "pisr_cli", *map(str, arguments)], after, limit)


def process(part: Part, name: str, command: list[str], after: float | None = None, limit: float = 120) -> int:
    """As `pisr`, of any command."""
    log = part.out / "commands" / f"{name.replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("w") as file:
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = child.wait(after or limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            code = child.wait()
    lines = log.read_text(errors="replace").strip().splitlines() or [""]
    part.row(command=name, code=code, seconds=time.monotonic() - start, last_line=lines[-1][-120:].replace("|", "/"))
    return code


def trained(part: Part) -> Path:
    """A checkpoint of the README's first command; its steps are made here if no part did before."""
    out = part.out / "run"
    best = out / "best.safetensors"
    if not best.exists():
        steps = 2 if part.rehearse else 900
        settings = [f"train.steps={steps}", *small(part)]
        given = [word for setting in settings for word in ("--set", setting)]
        pisr(
            part, "train, the first command of the README", "train", "--preset", "scenes-pdl-r18", *given, "--out", out
        )
    if not best.exists():
        complain("no checkpoint: training did not end")
    return best


def small(part: Part) -> list[str]:
    """Settings of a rehearsal's runs."""
    if not part.rehearse:
        return []
    return ["backbone.pretrained=false", "train.batch_size=2", "data.crop=[64,64]", "data.scenes.size=[64,64]",
            "data.scenes.val_images=2", "data.workers=0"]  # fmt: skip


def photos(part: Part) -> None:
    """`pisr predict` over photos of Cityscapes' size: decoding, network, PNG and overlay together."""
    checkpoint, folder, count = trained(part), part.out / "photos", 2 if part.rehearse else 48
    folder.mkdir(exist_ok=True)
    height, width = part.size
    for index in range(count):
        coarse = np.random.default_rng(index).integers(0, 256, (height // 16, width // 16, 3)).astype(np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index}.jpg", quality=92)
    for name, options in {"fp32": [], "bf16, batches of 4": ["--precision", "bf16", "--batch-size", 4]}.items():
        start = time.monotonic()
        out = part.out / f"predicted-{name[:4]}"
        pisr(
            part,
            f"predict {count} photos, {name}",
            "predict",
            folder,
            "--checkpoint",
            checkpoint,
            "--out",
            out,
            *options,
        )
        part.row(command=f"images a second with the start, {name}", seconds=count / (time.monotonic() - start))


def commands(part: Part) -> None:
    """Every command that computes, once; and whether maps are the CPU's."""
    checkpoint, scenes = trained(part), part.out / "scenes"
    pisr(part, "data prepare", "data", "prepare", "scenes", "--out", scenes, "--train", 2, "--val", 8)
    images = scenes / "val"
    common = ["--checkpoint", checkpoint]
    pisr(part, "predict", "predict", images, *common, "--out", part.out / "here")
    pisr(part, "predict on the CPU", "predict", images, *common, "--device", "cpu", "--out", part.out / "cpu")
    part.row(command="equal pixels of both", seconds=equal_pixels(part.out / "here", part.out / "cpu"))
    if part.rehearse:
        return
    pisr(part, "eval", "eval", *common)
    pisr(part, "heatmaps", "visualize-heatmaps", images, *common, "--out", part.out / "heatmaps")
    pisr(part, "ablate-k", "ablate-k", "--range", "10..200:95", *common, "--limit", 20, "--out", part.out / "ablation")
    pisr(part, "export", "export", *common, "--out", part.out / "model.pt2")
    pisr(part, "flops", "flops", "cityscapes-pdl-r50", "--runs", 20)
    pisr(part, "too large", "flops", "cityscapes-pdl-r50", "--batch", 400, "--runs", 2)


def equal_pixels(ours: Path, theirs: Path) -> float:
    """The share of all maps' pixels that are equal."""
    shares = [
        float((np.array(Image.open(path)) == np.array(Image.open(theirs / "panoptic" / path.name))).all(axis=-1).mean())
        for path in sorted((ours / "panoptic").glob("*.png"))
    ]
    return float(np.mean(shares)) if shares else float("nan")


def resume(part: Part) -> None:
    """Two equal runs, one of them killed on the way and resumed, with `train.deterministic` and without."""
    from safetensors.torch import load_file

    steps = 4 if part.rehearse else 300
    for choice in ("true", "false"):
        settings = [f"train.steps={steps}", "train.save_every=2", "train.eval_every=0", *small(part)]
        settings += ["data.scenes.val_images=2", f"train.deterministic={choice}"]
        given = [word for setting in settings for word in ("--set", setting)]
        whole, killed = (part.out / f"resume-{choice}-{name}" for name in ("whole", "killed"))
        pisr(part, f"whole, deterministic {choice}", "train", "--preset", "scenes-pdl-r18", *given, "--out", whole)
        length = float(part.rows[-1]["seconds"])  # type: ignore[arg-type]
        command = ["train", "--preset", "scenes-pdl-r18", *given, "--out", killed]
        pisr(part, f"killed, deterministic {choice}", *command, after=0.7 * length)
        if (killed / "state" / "training.pt").exists():
            pisr(part, f"resumed, deterministic {choice}", "train", "--out", killed, "--resume")
        first, second = (load_file(out / "last.safetensors") for out in (whole, killed))
        differ = max(float((first[name].double() - second[name].double()).abs().max()) for name in first)
        part.row(command=f"weights differ by, deterministic {choice}", seconds=differ)


def nccl(part: Part) -> None:
    """Training under `torchrun` in one process: the exchange of gradients is NCCL's on a GPU."""
    given = [word for setting in ("train.steps=30", *small(part)) for word in ("--set", setting)]
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "pisr_cli"]
    process(part, "torchrun", [*runner, "train", "--preset", "scenes-pdl-r18", *given, "--out", str(part.out / "nccl")])


def tests(part: Part) -> None:
    """The tests that need a GPU."""
    process(part, "pytest -m cuda", [sys.executable, "-m", "pytest", "-m", "cuda", str(PROJECT / "tests")])


def relation(part: Part) -> None:
    """PISR part by part, `benchmarks/relation_speed.py`."""
    script = str(PROJECT / "benchmarks" / "relation_speed.py")
    options = (
        ["--size", "64x128", "--runs", "1", "--preset", "scenes-pdl-r18"] if part.rehearse else ["--size", "1024x2048"]
    )
    for precision in ("no",) if part.rehearse else ("no", "bf16"):
        name = f"relation_speed, {precision}"
        process(part, name, [sys.executable, script, *options, "--precision", precision])
        lines = (part.out / "commands" / f"{name.replace(' ', '-')}.log").read_text().splitlines()
        for line in lines[1:]:
            part.row(command=name, last_line=line)


def study(part: Part) -> None:
    """Where other instances decide: a base, and what each relation makes of it, as far as time is left."""
    steps, seeds, variants = 600, "0,1,2,3,4", "heads,convolutions,concat,ocr,pisr"
    if part.rehearse:
        steps, seeds, variants = 1, "0", "heads,pisr"
    given = [word for setting in small(part) for word in ("--set", setting)]
    preset, base = "scenes-relative-pdl-r18", part.out / "relative"
    length = ["--set", "train.steps=1"] if part.rehearse else []
    alone = ["--preset", f"{preset}-baseline", *given, *length]
    pisr(part, "base", "train", *alone, "--out", base, limit=600)
    start = ["--preset", preset, "--weights", base / "last.safetensors", *given, "--set", "train.lr=0.004"]
    options = ["--steps", steps, "--seeds", seeds, "--variants", variants, "--variant", "k0:relation.top_k=0"]
    pisr(part, "study", "study", *start, *options, "--split", "test", "--out", part.out / "study", limit=3600)
