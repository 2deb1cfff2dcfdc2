"""Parts that measure prediction."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from inference import Benchmark
from torch.profiler import ProfilerActivity, profile

from gpu.part import Part, complain
from pisr_core.inference.behind import finished_behind
from pisr_core.inference.fast_model import FastModel
from pisr_core.inference.mode import inference
from pisr_core.models import PanopticModel
from pisr_core.models.queries.universal.model import UniversalSegmentation
from pisr_core.paper import load_table
from pisr_core.profiling.cost import padded_size, usual_size
from pisr_core.runtime.devices.arithmetic import arithmetic

MODES: dict[str, dict[str, Any]] = {
    "fp32": {"graphs": False},
    "TF32": {"graphs": False},
    "bf16": {"precision": "bf16", "graphs": False},
    "bf16, graphs": {"precision": "bf16"},
    "bf16, graphs, compiled": {"precision": "bf16", "compiled": True},
}
"""How Table 4 is run; without graphs a GPU's hundreds of kernels are started one by one."""


def ceilings(part: Part) -> None:
    """What the card can do: a matrix product, and a copy."""
    side, count = (256, 1 << 16) if part.rehearse else (8192, 1 << 28)
    for dtype in (torch.bfloat16, torch.float32):
        first, second = (torch.randn(side, side, device=part.device, dtype=dtype) for _ in range(2))
        for tf32 in ("none", "all") if dtype == torch.float32 else ("none",):
            with arithmetic(tf32):
                time = part.milliseconds(lambda a=first, b=second: a @ b)
            part.row(what=f"matrix product, {dtype}, TF32 {tf32}", ms=time, tflops=2 * side**3 / time / 1e9)
    source = torch.randn(count, device=part.device)
    target = torch.empty_like(source)
    time = part.milliseconds(lambda: target.copy_(source))
    part.row(what="copy", ms=time, gigabytes_a_second=8 * count / time / 1e6)


def table4(part: Part) -> None:
    """Latency and FPS of Table 4's models and the lean one, beside the paper's FPS on an A100.

    Those that are compiled, which takes minutes, come last.
    """
    printed = {row.preset: row.printed.scores.get("FPS") for row in load_table(4).rows}
    names = [*printed, "cityscapes-pdl-r50-lean"]
    names.sort(key=lambda name: ("pdl-r50" not in name, name))
    modes = [mode for mode in MODES if part.device.type == "cuda" or mode in ("fp32", "bf16")]
    if part.rehearse:
        names = ["scenes-pdl-r18-baseline", "scenes-pdl-r18"]
    runs = [(name, mode) for name in names for mode in modes]
    for name, mode in sorted(runs, key=lambda run: "compiled" in run[1]):
        part.row(model=name, mode=mode, **speed(part, name, mode), paper_fps=printed.get(name))


def speed(part: Part, name: str, mode: str) -> dict[str, object]:
    """Milliseconds, FPS and memory of one image, to the network's output and to the map on the host."""
    plain = part.model(name)
    size = part.size if part.rehearse else padded_size(usual_size(plain.config), plain.size_divisor)
    images = torch.rand(1, 3, *size, device=part.device) * 255
    with arithmetic({"fp32": "none", "TF32": "all"}.get(mode, "convolutions")):
        model = FastModel(plain, **MODES[mode])
        with inference(model):
            network = part.milliseconds(lambda: model(images))
            both = part.milliseconds(lambda: model.panoptic(model(images), [size], [size]))
            memory = part.megabytes(lambda: model(images))
    return {
        "size": f"{size[0]}x{size[1]}",
        "network_ms": network,
        "with_map_ms": both,
        "fps": 1000 / both,
        "mb": memory,
    }


def planted(part: Part) -> tuple[Benchmark, Any]:
    """Predictions with 60 instances, and what merges them."""
    size = f"{part.size[0]}x{part.size[1]}"
    options = {"preset": "cityscapes-pdl-r50", "runs": 10, "checkpoint": None, "megapixels": 2, "images": 1}
    options |= {"folder": None, "k": [], "batches": [], "size": size, "device": part.device.type}
    bench = Benchmark(argparse.Namespace(**options))
    return bench, bench.planted(*part.size)


def merging(part: Part) -> None:
    """From heads at stride 4 with 60 instances to the map on the host, and how often that waits for the device."""
    bench, prediction = planted(part)

    def work() -> object:
        return bench.merged(prediction, *part.size)

    segments = len(bench.merged(prediction, *part.size).segments)
    part.row(
        what="centres", segments=segments, ms=part.milliseconds(work), mb=part.megabytes(work), waits=waits(part, work)
    )


def end_to_end(part: Part) -> None:
    """Network and merging of 60 planted instances: batches of 1 and 4, then one image after another.

    Of those the map of one is fetched behind the network of the next, as `pisr predict` and `eval` do.
    """
    bench, prediction = planted(part)
    names = ("cityscapes-pdl-r50-baseline", "cityscapes-pdl-r50", "cityscapes-pdl-r50-lean")
    for name in ("scenes-pdl-r18",) if part.rehearse else names:
        model = FastModel(part.model(name), "bf16")
        for count in (1, 4):
            images = part.images(count)

            def work(model: FastModel = model, images: torch.Tensor = images, count: int = count) -> None:
                with inference(model):
                    model(images)
                for _ in range(count):
                    bench.merged(prediction, *part.size)

            time = part.milliseconds(work)
            part.row(model=name, batch=count, fetched="at once", ms_an_image=time / count, fps=1000 * count / time)
        row_of = 2 if part.rehearse else 16
        time = part.milliseconds(
            partial(one_after_another, part, model, partial(bench.merged, prediction, *part.size), row_of)
        )
        part.row(model=name, batch=1, fetched="behind", ms_an_image=time / row_of, fps=1000 * row_of / time)


def one_after_another(part: Part, model: FastModel, merge: Callable[[], object], count: int) -> None:
    """So many images, each fetched while the network sees the next."""
    images = part.images()

    def begun() -> Iterator[Callable[[], object]]:
        for _ in range(count):
            with inference(model):
                model(images)
            yield merge

    for _ in finished_behind(begun(), part.device):
        pass


def waits(part: Part, work: Callable[[], object]) -> int | None:
    """How often some work waits for a GPU, as torch counts it."""
    if part.device.type != "cuda":
        return None
    import warnings

    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def kernels(part: Part) -> None:
    """The dearest kernels of prediction and of merging."""
    bench, prediction = planted(part)
    name = "scenes-pdl-r18" if part.rehearse else "cityscapes-pdl-r50"
    model, images = FastModel(part.model(name), "bf16", graphs=False), part.images()

    def predict() -> None:
        with inference(model):
            model(images)

    dearest(part, "prediction", predict)
    dearest(part, "merging", lambda: bench.merged(prediction, *part.size))


def dearest(part: Part, what: str, work: Callable[[], object], runs: int = 5, most: int = 10) -> None:
    """A row for each of the kernels that take most of the device's time."""
    cuda = part.device.type == "cuda"
    work()
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
        for _ in range(runs):
            work()
        if cuda:
            torch.cuda.synchronize()
    time = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda event: -getattr(event, time))
    total = sum(getattr(event, time) for event in events)
    part.row(of=what, kernel="all", ms=total / 1000 / runs, calls=sum(event.count for event in events) / runs)
    for event in events[:most]:
        spent = getattr(event, time)
        part.row(of=what, kernel=event.key[:90], ms=spent / 1000 / runs, calls=event.count / runs, share=spent / total)


def peers(part: Part) -> None:
    """Transformers' MaskFormer, Mask2Former and EoMT beside ours, each pair at one size in one run."""
    try:
        from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig
    except ImportError:
        complain("transformers cannot be imported here")
    stages = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    if part.rehearse:
        stages.depths, stages.hidden_sizes, stages.embedding_size = [1, 1, 1, 1], [16, 32, 64, 128], 16
    decoder = DetrConfig(num_queries=100, backbone_config=ResNetConfig())
    torch.manual_seed(0)
    theirs = MaskFormerForInstanceSegmentation(
        MaskFormerConfig(backbone_config=stages, decoder_config=decoder, num_labels=150)
    )
    small = ("custom-maskformer-r18", "data.dataset=scenes", "relation.name=none")
    ours = part.model(*small) if part.rehearse else part.model("ade20k-maskformer-r50-baseline")
    beside(part, "MaskFormer", theirs, ours, 64 if part.rehearse else 640)
    for name, preset, side in (
        ("Mask2Former", "coco-mask2former-swint-baseline", 64 if part.rehearse else 640),
        ("EoMT", "coco-eomt-s-baseline", 640),  # its only size
    ):
        ours = part.model(preset)
        assert isinstance(ours, UniversalSegmentation)
        beside(part, name, ours.build_network(ours.config, len(ours.categories)), ours, side)


def beside(part: Part, name: str, theirs: Any, ours: PanopticModel, side: int) -> None:
    """A network as transformers runs it and as we do."""
    theirs = theirs.to(part.device).eval()
    for count in (1,) if part.rehearse else (1, 8):
        images = torch.rand(count, 3, side, side, device=part.device)
        for precision, dtype in (("no", None), ("bf16", torch.bfloat16)):
            model = FastModel(ours, precision)
            with torch.inference_mode(), torch.autocast(part.device.type, dtype=dtype, enabled=dtype is not None):
                slow = part.milliseconds(lambda i=images: theirs(pixel_values=i))
            with inference(model):
                quick = part.milliseconds(lambda m=model, i=images: m(255 * i))
            row = {"network": name, "batch": count, "precision": precision}
            part.row(**row, transformers_ms=slow, ours_ms=quick, ratio=slow / quick)
