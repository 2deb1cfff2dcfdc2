"""The paper's qualitative figures for any images: heatmaps (Figs. 4 and 5) and comparisons (Figs. 1, 6 and 7)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pisr_core.data.loading import evaluation_batch
from pisr_core.errors import ConfigError
from pisr_core.figures.annotations import Annotations
from pisr_core.figures.picture_pages import PicturePage, PictureReport, draw_images, host_image
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import predict_sample
from pisr_core.models import PanopticModel
from pisr_core.relations.category_attention import CategoryAttention
from pisr_core.relations.pisr import PISR
from pisr_core.structures import Category, PanopticSegmentation, Sample
from pisr_core.visualization.differences import differing_pixels, largest_regions
from pisr_core.visualization.grid import Panel
from pisr_core.visualization.heatmaps import (
    center_panel,
    class_panels,
    instance_panels,
    largest_classes,
    partition_panels,
    question_panels,
)
from pisr_core.visualization.overlay import overlay
from pisr_core.visualization.presence import Presence, presence
from pisr_core.visualization.stages import ImageMaps
from pisr_core.visualization.weights import draw_weights

INSTANCE_COLUMNS = 4
"""Panels a row in the grid of instance maps."""

LEGEND = (
    "Heatmaps lie over the grey image: dark is 0, bright yellow 1. White outlines are the selected instances of the "
    "class, where their map is at least 0.5, faint where their confidence is low. F_sp has neither a fixed scale (its "
    "bar states it) nor a preferred sign: g_p weighs each row by a learned number."
)


def gather_maps(model: PanopticModel, sample: Sample, device: torch.device) -> ImageMaps:
    """Runs the model on one image and keeps what it computed on the way; nothing of the model changes."""
    batch = evaluation_batch([sample], model.config.data, model.size_divisor)
    relation = getattr(model, "relation", None)
    size = (sample.image.shape[1], sample.image.shape[2])
    with inference(model), _recorded_inputs(relation) as inputs:
        output = model(batch.images.to(device))
        (result,) = model.panoptic(output, batch.input_sizes, [size])
        weights = signals = shares = None
        if isinstance(relation, PISR):
            rows = model.network.relation_rows(inputs[0][2].shape[1])
            encodings, omega = relation.weighted_encodings(*inputs[0])
            weights = None if omega is None else omega[0, rows]
            signals = relation.spatial_panoptic_features(*inputs[0])[0, rows]
            if isinstance(relation.attention, CategoryAttention):
                shares = relation.attention.shares(encodings)[0, rows][:, rows]
        return ImageMaps(
            image=host_image(sample),
            input_size=batch.input_sizes[0],
            panoptic=result.panoptic,
            final=model.network.stage_maps(output.final),
            initial=None if output.initial is None else model.network.stage_maps(output.initial),
            weights=weights,
            signals=signals,
            shares=shares,
            stride=model.network.stride,
        )


@contextmanager
def _recorded_inputs(module: nn.Module | None) -> Iterator[list[tuple[Any, ...]]]:
    """What a module is called with while the block runs."""
    calls: list[tuple[Any, ...]] = []
    if module is None:
        yield calls
        return
    handle = module.register_forward_pre_hook(lambda _, inputs: calls.append(inputs))
    try:
        yield calls
    finally:
        handle.remove()


def visualize_heatmaps(
    models: Mapping[str, PanopticModel],
    paths: Sequence[str],
    out: Path,
    device: torch.device,
    class_names: Sequence[str] = (),
    annotations: Annotations | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PictureReport:
    """Draws Fig. 4, ω and I of each model, and Fig. 5 where there are several.

    Args:
        models: by the names that captions and folders get; of the same classes, on `device`.
        paths: images, folders or glob patterns.
        out: for `out/index.html` and PNGs in folders by kind and model.
        device: where the models compute.
        class_names: what to look at; by default the classes that cover most of each image, things first.
        annotations: shown in Fig. 5 and beside I, and what ω is compared with.
        progress: called with (done, total) after each image.

    Raises:
        ConfigError: an unknown class, or models of different classes.
        DataError: the paths lead to no image.
    """
    categories = _common_categories(models)
    chosen = [_position(name, categories) for name in class_names]

    def draw(sample: Sample, page: PicturePage) -> None:
        maps = {label: gather_maps(model, sample, device) for label, model in models.items()}
        looked_at = chosen or largest_classes([own.panoptic for own in maps.values()], categories)
        truth = None if annotations is None else annotations.of(sample)
        panels = _truth_panel(sample, truth, annotations)
        for label, own in maps.items():
            there = None
            if annotations is not None and truth is not None:
                there = presence(own, categories, truth, annotations.categories)
            _draw_model(page, label, models[label], own, looked_at, panels, there)
        for category in looked_at if len(models) > 1 else ():
            _draw_centers(page, models, maps, category, panels)

    page = PicturePage("Heatmaps", out)
    page.paragraph(LEGEND)
    for label, model in models.items():
        page.paragraph(f"{label}: {_what_it_shows(model)}")
    return draw_images(page, paths, draw, next(iter(models.values())).config.data, progress)


def compare_models(
    models: Mapping[str, PanopticModel],
    paths: Sequence[str],
    out: Path,
    device: torch.device,
    annotations: Annotations | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PictureReport:
    """Draws two models' panoptic maps side by side, the regions that differ boxed (Figs. 1, 6 and 7).

    Arguments and errors are those of `visualize_heatmaps`, for two models.
    """
    categories = _common_categories(models)

    def draw(sample: Sample, page: PicturePage) -> None:
        results = {label: predict_sample(model, sample, device) for label, model in models.items()}
        first, second = results.values()
        differing = differing_pixels(first, second, categories)
        boxes = largest_regions(differing)
        image = host_image(sample)
        truth = None if annotations is None else annotations.of(sample)
        panels = [Panel("input", image, boxes=boxes), *_truth_panel(sample, truth, annotations)]
        panels += [Panel(label, overlay(image, own, categories), boxes=boxes) for label, own in results.items()]
        page.grid("compare", "", panels, f"{100 * differing.mean():.1f} % of the pixels differ")

    page = PicturePage("Comparison", out)
    page.paragraph("Dashed boxes: the largest regions where class or instance differ between the two models.")
    return draw_images(page, paths, draw, next(iter(models.values())).config.data, progress)


def _draw_model(
    page: PicturePage,
    label: str,
    model: PanopticModel,
    maps: ImageMaps,
    looked_at: Sequence[int],
    truth: Sequence[Panel],
    there: Presence | None,
) -> None:
    """Fig. 4 for each class, ω and I of one model, beside the truth where it is known."""
    categories = model.categories
    for category in looked_at:
        name = categories[category].name
        page.grid(f"{label}/classes", name, class_panels(maps, category, categories), f"{label}: {name}")
    if maps.weights is not None:
        page.figure(
            f"{label}/weights",
            "",
            f"{label}: learned weights ω",
            lambda path, title: draw_weights(path, maps, categories, title, there),
        )
    panels = instance_panels(maps, categories)
    if panels:
        panels = [*truth, *partition_panels(maps), *question_panels(maps, len(categories)), *panels]
        page.grid(f"{label}/instances", "", panels, f"{label}: most confident instance maps I", INSTANCE_COLUMNS)


def _draw_centers(
    page: PicturePage,
    models: Mapping[str, PanopticModel],
    maps: Mapping[str, ImageMaps],
    category: int,
    truth: Sequence[Panel],
) -> None:
    """Fig. 5 for one class."""
    categories = next(iter(models.values())).categories
    panels = [Panel("input", next(iter(maps.values())).image), *truth]
    panels += [Panel(label, overlay(own.image, own.panoptic, categories)) for label, own in maps.items()]
    for label, own in maps.items():
        panels.append(center_panel(label, own, category, models[label].config.merge.center_threshold))
    page.grid("centers", categories[category].name, panels, categories[category].name)


def _truth_panel(sample: Sample, truth: PanopticSegmentation | None, annotations: Annotations | None) -> list[Panel]:
    if annotations is None or truth is None:
        return []
    return [Panel("ground truth", overlay(host_image(sample), truth, annotations.categories))]


def _what_it_shows(model: PanopticModel) -> str:
    """What there is to see, by the model's relation."""
    relation = model.config.relation
    if relation.name == "none":
        return "a base model, whose only predictions are shown; no before and after, no ω."
    if relation.name != "pisr":
        return f"relation {relation.name}, which has neither F_sp nor ω; before and after it are shown."
    return "PISR." if relation.reweight else "PISR without the weights ω."


def _common_categories(models: Mapping[str, PanopticModel]) -> tuple[Category, ...]:
    first, *others = models.values()
    for label, other in zip(list(models)[1:], others, strict=True):
        if [(c.name, c.isthing) for c in other.categories] != [(c.name, c.isthing) for c in first.categories]:
            raise ConfigError(f"{label} knows other classes than {next(iter(models))}: give models of one dataset.")
    return first.categories


def _position(name: str, categories: Sequence[Category]) -> int:
    names = [category.name for category in categories]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"it knows {', '.join(names)}."
        raise ConfigError(f"--class {name}: the model has no such class: {hint}")
    return names.index(name)
