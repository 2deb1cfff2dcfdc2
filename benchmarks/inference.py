"""Prediction from file to files: where the time goes, and what each means of making it faster brings.

python benchmarks/inference.py --parts share steps fused files
python benchmarks/inference.py --parts sizes batches instances --device cuda --megapixels 8
python benchmarks/inference.py --parts agreement --checkpoint runs/first/best.safetensors

share      steps of one image; merging and drawing see planted predictions with 60 instances
steps      eager float32 against folded norms, channels last, bf16 and torch.compile, timed in turn
sizes      cost against size: time and memory of network and merging from 0.25 megapixels to --megapixels
instances  the same over K
batches    the same over images a batch
fused      the attention's literal order against the fused one, time and memory
files      overlay and PNG over the size of the image
agreement  pixels with the same class and instance in float32 and in low precision, of a trained model

Weights are random but for `agreement`. Medians; numbers count as ratios within a part.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from merging import plant
from PIL import Image
from timing import megabytes, milliseconds
from torch import Tensor

from pisr_core import presets
from pisr_core.config import PISRConfig
from pisr_core.data import build_dataset
from pisr_core.data.categories import known_categories
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.data.loading import evaluation_batch
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.inference.fast_model import FastModel, fold_batch_norms
from pisr_core.inference.load import load_model
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import find_images, predict_sample
from pisr_core.models import PanopticModel, build_model
from pisr_core.models.center_offset.merging.panoptic import center_offset_panoptic
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.relations import PISR
from pisr_core.runtime.devices.device import choose_device
from pisr_core.structures import PanopticSegmentation, Sample, SemanticPrediction
from pisr_core.visualization.overlay import overlay

CLASSES = 19
THINGS = tuple(range(2, 10))


class Benchmark:
    """What the parts share.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.device = choose_device(arguments.device)
        self.preset, self.runs, self.checkpoint = arguments.preset, arguments.runs, arguments.checkpoint
        self.megapixels, self.images, self.folder = arguments.megapixels, arguments.images, arguments.folder
        self.k, self.batches = arguments.k, arguments.batches
        self.height, self.width = map(int, arguments.size.split("x"))

    def model(self, **relation: object) -> PanopticModel:
        """The preset's model with random weights, and some settings of its relation changed."""
        config = presets.load(self.preset, ["backbone.pretrained=false"])
        config = replace(config, relation=replace(config.relation, **relation))
        model = build_model(config, known_categories(config.data.dataset)).to(self.device).eval()
        return model.requires_grad_(False)

    def batch(self, height: int, width: int, count: int = 1) -> Tensor:
        """Images of noise."""
        return torch.rand(count, 3, height, width, device=self.device) * 255

    def planted(self, height: int, width: int, instances: int = 60) -> CenterOffsetPrediction:
        """Predictions at stride 4 with so many instances."""
        scene = plant((height // 4, width // 4), instances, 0.15, 0.5, self.device)
        logits = 10.0 * torch.nn.functional.one_hot(scene[0], CLASSES).permute(2, 0, 1)[None].float()
        return CenterOffsetPrediction(SemanticPrediction.from_logits(logits), scene[1][None, None], scene[2][None])

    def merged(self, prediction: CenterOffsetPrediction, height: int, width: int) -> PanopticSegmentation:
        """Their panoptic map."""
        size, config = (height, width), presets.load(self.preset).merge
        return center_offset_panoptic(prediction, 0, size, size, THINGS, config).panoptic

    def milliseconds(self, *works: Callable[[], object]) -> list[float]:
        """See `timing.milliseconds`."""
        return milliseconds(self.device, self.runs, *works)


def share(bench: Benchmark) -> None:
    """Where the time of one image goes."""
    height, width = bench.height, bench.width
    model, prediction = FastModel(bench.model()), bench.planted(height, width)
    panoptic = bench.merged(prediction, height, width)
    with tempfile.TemporaryDirectory() as folder:
        path, png, jpeg = (Path(folder, name) for name in ("image.jpg", "map.png", "overlay.jpg"))
        Image.fromarray(photo(height, width)).save(path, quality=92)
        sample = Sample(read_image(path), None, 1, "image.jpg")
        pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
        batch = evaluation_batch([sample], model.config.data, model.size_divisor).images.to(bench.device)
        picture = overlay(pixels, panoptic, colors())
        steps = {
            "network": lambda: model(batch),
            "read and resize": lambda: evaluation_batch(
                [Sample(read_image(path), None, 1, "")], model.config.data, model.size_divisor
            ),
            "merging, full size": lambda: bench.merged(prediction, height, width),
            "map to PNG": lambda: write_map(png, panoptic),
            "overlay": lambda: overlay(pixels, panoptic, colors()),
            "overlay to JPEG": lambda: Image.fromarray(picture).save(jpeg, quality=92),
        }
        times = bench.milliseconds(*steps.values())
    for name, duration in zip(steps, times, strict=True):
        print(f"{name:20} {duration:8.1f} ms {duration / sum(times):6.1%}")
    print(f"{'all but the network':20} {sum(times[1:]):8.1f} ms {sum(times[1:]) / sum(times):6.1%}, one after another")


def steps(bench: Benchmark) -> None:
    """What each means brings."""
    images = bench.batch(bench.height, bench.width)
    plain = bench.model()
    last = images.contiguous(memory_format=torch.channels_last)
    folded = fold_batch_norms(copy.deepcopy(plain))
    works: dict[str, Callable[[], object]] = {
        "eager float32": lambda: plain(images),
        "norms folded": lambda: folded(images),
    }
    turned = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    works["channels last"] = lambda: turned(last)
    variants = [("no", False), ("bf16", False), ("no", True), ("bf16", True)]
    if bench.device.type == "cuda":
        variants += [("fp16", False), ("fp16", True)]
    for precision, compiled in variants:
        fast = FastModel(plain, precision, compiled)
        name = "both" if precision == "no" else f"both, {precision}"
        works[name + (", compiled" if compiled else "")] = lambda fast=fast: fast(images)
    times = bench.milliseconds(*works.values())
    for name, duration in zip(works, times, strict=True):
        print(f"{name:24} {duration:8.1f} ms, {times[0] / duration:5.2f} times as fast")


HEADER = f"{'network':>13} {'merging':>12} {'network':>12} {'merging':>12}"


def network_and_merging(bench: Benchmark, model: FastModel, size: tuple[int, int], instances: int, count: int) -> str:
    """Columns of a table: milliseconds an image, and memory beyond the weights and the input, of a batch."""
    images, prediction = bench.batch(*size, count), bench.planted(*size, instances)

    def merge() -> object:
        return bench.merged(prediction, *size)

    memory = [megabytes(bench.device, work) for work in (lambda: model(images), merge)]
    network, merging = bench.milliseconds(lambda: model(images), merge)
    return f"{network / count:10.1f} ms {merging:9.1f} ms {memory[0]:9.0f} MB {memory[1]:9.0f} MB"


def sizes(bench: Benchmark) -> None:
    """Over the size of the image."""
    model = FastModel(bench.model())
    print(f"{'image':>12} {HEADER}")
    for height in (352, 512, 704, 1024, 1440, 2048):
        if 2 * height**2 <= bench.megapixels * 1.06e6:
            print(
                f"{height:5}×{2 * height:<6} {network_and_merging(bench, model, (height, 2 * height), 60, 1)}",
                flush=True,
            )


def instances(bench: Benchmark) -> None:
    """Over K: the network's share is the relation's, merging has as many instances."""
    print(f"{'K':>5} {HEADER}")
    for k in bench.k:
        model = FastModel(bench.model(top_k=k))
        print(f"{k:5} {network_and_merging(bench, model, (bench.height, bench.width), k, 1)}", flush=True)


def batches(bench: Benchmark) -> None:
    """Over images a batch."""
    model = FastModel(bench.model())
    print(f"{'batch':>5} {HEADER}   milliseconds an image, memory of the batch")
    for count in bench.batches:
        print(f"{count:5} {network_and_merging(bench, model, (bench.height, bench.width), 60, count)}", flush=True)


def fused(bench: Benchmark) -> None:
    """The module alone, at the paper's widths."""
    channels, k = 384, 200
    features = torch.rand(1, channels, 128, 256, device=bench.device)
    semantic = SemanticPrediction.from_logits(torch.randn(1, CLASSES, 128, 256, device=bench.device))
    maps = torch.rand(1, k, 128, 256, device=bench.device)
    modules = [
        PISR(channels, CLASSES, PISRConfig(top_k=k, fused=order)).to(bench.device).eval() for order in (False, True)
    ]
    works = [lambda m=module: m(features, semantic, maps) for module in modules]
    literal, quick = bench.milliseconds(*works)
    held = [megabytes(bench.device, work) for work in works]
    print(f"literal {literal:8.1f} ms {held[0]:6.0f} MB\nfused   {quick:8.1f} ms {held[1]:6.0f} MB")
    print(f"fused takes {quick / literal:.2f} of the time, {held[1] / max(held[0], 1e-9):.2f} of the memory")


def files(bench: Benchmark) -> None:
    """Drawing and writing, on the CPU wherever the network is."""
    print(f"{'image':>12} {'overlay':>10} {'PNG':>10} {'JPEG':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for height in (512, 1024, 2048):
            width = 2 * height
            panoptic, pixels = bench.merged(bench.planted(height, width), height, width), photo(height, width)
            picture = overlay(pixels, panoptic, colors())
            times = bench.milliseconds(
                lambda p=pixels, m=panoptic: overlay(p, m, colors()),
                lambda m=panoptic: write_map(Path(folder, "map.png"), m),
                lambda p=picture: Image.fromarray(p).save(Path(folder, "overlay.jpg"), quality=92),
            )
            print(f"{height:5}×{width:<6}" + "".join(f"{value:8.1f} ms" for value in times), flush=True)


def agreement(bench: Benchmark) -> None:
    """Low precision against float32 on validation images of the checkpoint's dataset, or on a folder's images."""
    if bench.checkpoint is None:
        raise SystemExit("--parts agreement needs --checkpoint")
    plain = load_model(bench.checkpoint, bench.device)
    fast = {"folded": FastModel(plain), "bf16": FastModel(plain, "bf16"), "fp16": FastModel(plain, "fp16")}
    same: dict[str, list[float]] = {name: [] for name in fast}
    for sample in samples(bench, plain):
        with inference(plain):
            expected = predict_sample(plain, sample, bench.device)
            for name, model in fast.items():
                same[name].append(agreeing(predict_sample(model, sample, bench.device), expected))
    for name, shares in same.items():
        print(f"{name:8} {statistics.fmean(shares):.4%} of the pixels, {min(shares):.2%} of the worst image's")


def samples(bench: Benchmark, model: PanopticModel) -> Iterator[Sample]:
    """The first images of the folder, or of the validation split."""
    if bench.folder is not None:
        paths, _ = find_images([str(bench.folder)], exclude=Path("none"))
        yield from (Sample(read_image(path), None, 1, path.name) for path in paths[: bench.images])
    else:
        dataset = build_dataset(model.config.data, "val", None)
        yield from (dataset[index] for index in range(min(bench.images, len(dataset))))


def agreeing(ours: PanopticSegmentation, expected: PanopticSegmentation) -> float:
    """Share of pixels with the same class that lie in the segment that most of their segment's pixels lie in."""
    same = ours.semantic() == expected.semantic()
    pairs, counts = np.unique(np.stack((expected.ids[same], ours.ids[same])), axis=1, return_counts=True)
    agreed = {segment: counts[pairs[0] == segment].max() for segment in np.unique(pairs[0])}
    return sum(agreed.values()) / expected.ids.size


def photo(height: int, width: int) -> np.ndarray:
    """A smooth random picture: noise would cost the JPEG more than photos do."""
    small = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def colors() -> tuple:
    """Classes with colours."""
    return known_categories("cityscapes")


def write_map(path: Path, panoptic: PanopticSegmentation) -> None:
    """The PNG as `pisr predict` writes it."""
    CocoPanopticWriter(path.with_suffix(".json"), path.parent, colors()).add(1, path.name, panoptic)


PARTS: dict[str, Callable[[Benchmark], None]] = {
    "share": share,
    "steps": steps,
    "sizes": sizes,
    "instances": instances,
    "batches": batches,
    "fused": fused,
    "files": files,
    "agreement": agreement,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["share", "steps", "fused", "files"])
    parser.add_argument("--preset", default="cityscapes-pdl-r50")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--size", default="512x1024", help="height x width of the image, where it does not vary")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megapixels", type=float, default=2.0, help="of the largest image of `sizes`, up to 8")
    parser.add_argument("--k", type=int, nargs="+", default=[10, 50, 100, 200, 400], help="for `instances`")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8], help="for `batches`")
    parser.add_argument("--images", type=int, default=20, help="of the agreement")
    parser.add_argument("--folder", type=Path, help="images for the agreement, else the checkpoint's dataset")
    parsed = parser.parse_args(arguments)
    bench = Benchmark(parsed)
    print(f"{parsed.preset}, {bench.device}, {torch.get_num_threads()} threads")
    for part in parsed.parts:
        print(f"\n{part}: {PARTS[part].__doc__}")
        with torch.inference_mode():
            PARTS[part](bench)


if __name__ == "__main__":
    main()
