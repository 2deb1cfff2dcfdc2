"""The page that a shared model is introduced by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pisr_core.weights.files.checkpoint import Checkpoint

PAPER = "https://openaccess.thecvf.com/content/CVPR2022/html/Borse_Panoptic_Instance_and_Semantic_Relations_CVPR_2022_paper.html"
GROUPS = ("all", "things", "stuff")


def model_card(checkpoint: Checkpoint, title: str, scores: Mapping[str, Any], picture: str | None) -> str:
    """A model card in Markdown, whose licence is left to whoever shares the model.

    Args:
        checkpoint: the model.
        title: its name.
        scores: as `pisr eval --json` prints them; empty where it was not evaluated.
        picture: file name of a picture beside the card.
    """
    config = checkpoint.config
    relation = f"relation {config.relation.name}" if config.relation.name != "none" else "no relation"
    parts = [
        _head(),
        f"# {title}",
        f"Panoptic segmentation: `{config.architecture}`, {config.backbone.name}, {relation}; preset `{config.name}`, "
        f"{len(checkpoint.categories)} classes. Trained with `pisr`, the toolkit around "
        f"[Panoptic, Instance and Semantic Relations]({PAPER}) (CVPR 2022).",
        f"![What the model sees]({picture})" if picture else "",
        "## Use",
        "```sh\npisr predict photo.jpg --checkpoint USER/NAME --out predictions\n```",
        '```python\nfrom pisr_core import load_model\n\nresult = load_model("USER/NAME").predict("photo.jpg")\n```',
        "## Scores",
        _scores(scores, config.data.dataset),
        "## Classes",
        _classes(checkpoint),
        "## Licence",
        "To be chosen by whoever shares the model: name it here, and as `license:` in the head of this page. Weights "
        "that it was trained from, and the images, may restrict the choice.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _head() -> str:
    """What the hub reads."""
    return (
        "---\nlibrary_name: pisr\npipeline_tag: image-segmentation\ntags:\n- panoptic-segmentation\n"
        "- image-segmentation\n- pisr\n---"
    )


def _scores(scores: Mapping[str, Any], dataset: str) -> str:
    if not scores:
        return "Not evaluated."
    panoptic = scores["panoptic"]
    rows = [[group, *(_score(panoptic[group][key]) for key in ("pq", "sq", "rq"))] for group in GROUPS]
    table = "\n".join(["| classes | PQ | SQ | RQ |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])
    miou = scores.get("semantic", {}).get("miou")
    return f"On the validation images of `{dataset}`, 0–100:\n\n{table}\n\nmIoU {_score(miou)}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _classes(checkpoint: Checkpoint) -> str:
    named = {
        kind: ", ".join(_plain(each.name) for each in checkpoint.categories if each.isthing is isthing) or "none"
        for kind, isthing in (("Things", True), ("Stuff", False))
    }
    return "\n\n".join(f"{kind}: {names}" for kind, names in named.items())


def _plain(name: str) -> str:
    """A class's name as it is, whatever of it Markdown or HTML would take as its own."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()<>#+!|~&" else letter for letter in name)
