"""The built-in dataset as files, for other tools and for looking at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from pisr_core.config import ScenesConfig
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.data.pictures.video import DEFAULT_FPS, written_video
from pisr_core.data.scenes import SceneDataset
from pisr_core.data.scenes.films import SceneFilm
from pisr_core.errors import DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Sample

SPLITS = ("train", "val")


def prepare_scenes(
    out: Path, config: ScenesConfig, progress: Callable[[int, int], None] | None = None, frames: int = 0
) -> None:
    """Writes the scenes as a dataset in COCO's panoptic format, which `data.dataset = "custom"` reads.

    `out/train/*.png` and `out/val/*.png` are the images; `out/annotations/panoptic_{train,val}.json` and the
    folders beside them the annotations.

    Args:
        out: the dataset's folder.
        config: the size, the difficulty and the number of scenes.
        progress: called with (done, total) after each image.
        frames: write films of so many frames in place of scenes: the frames as images `film_000000_000001.png` …, whose
            segments keep their ids, and `out/films/val/film_000000.mp4` … with `train` likewise.

    Raises:
        ConfigError: settings that the scenes cannot have.
        DataError: `out` holds a dataset already.
    """
    datasets = {split: SceneDataset(config, split) for split in SPLITS}
    jsons = {split: out / "annotations" / f"panoptic_{split}.json" for split in SPLITS}
    for path in jsons.values():
        if path.exists():
            raise DataError(f"{path}: a dataset lies here already. Name another folder with --out.")
    done, total = 0, max(frames, 1) * sum(len(dataset) for dataset in datasets.values())
    for split, dataset in datasets.items():
        path = jsons[split]
        if frames:
            samples = _filmed(config, split, len(dataset), frames, out)
        else:
            samples = map(dataset.__getitem__, range(len(dataset)))
        with CocoPanopticWriter(path, path.with_suffix(""), dataset.categories) as writer:
            for sample in samples:
                _write_scene(sample, out / split, writer)
                done += 1
                if progress is not None:
                    progress(done, total)


def _filmed(config: ScenesConfig, split: str, films: int, frames: int, out: Path) -> Iterator[Sample]:
    """The frames of all films of a split, numbered through, while the films are written."""
    for index in range(films):
        film = SceneFilm(config, split, index)
        with written_video(out / "films" / split / f"{film.name}.mp4", DEFAULT_FPS) as add:
            for sample in film.frames(frames):
                add(sample.image.permute(1, 2, 0).numpy())
                yield replace(sample, image_id=index * frames + int(sample.image_id))


def _write_scene(sample: Sample, folder: Path, writer: CocoPanopticWriter) -> None:
    assert sample.panoptic is not None  # scenes are always annotated
    with written_whole(folder / sample.file_name) as part:
        Image.fromarray(sample.image.permute(1, 2, 0).contiguous().numpy()).save(part, format="PNG")
    writer.add(sample.image_id, sample.file_name, sample.panoptic)
