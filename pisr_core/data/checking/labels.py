"""What the JSON alone tells of the classes: flags that disagree, stuff in pieces, crowds, classes without use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pisr_core.data.checking.findings import Finding, Kind
from pisr_core.data.checking.reading.entries import AnnotationEntry, PanopticEntries
from pisr_core.structures import Category


def label_findings(entries: PanopticEntries, png_dir: Path) -> Iterator[Finding]:
    """What is odd about the classes of each annotation's segments, and of the split."""
    for annotation in entries.annotations.values():
        path, entry = str(png_dir / annotation.file_name), ("annotations", annotation.position)
        for kind, detail in _odd_labels(annotation, entries.categories):
            yield Finding(kind, entries.split, path, detail, entry)
    used = {info["category_id"] for annotation in entries.annotations.values() for info in annotation.infos}
    unused = [category.name for category in entries.categories.values() if category.id not in used]
    if unused:
        names = ", ".join(unused[:10]) + (" …" if len(unused) > 10 else "")
        detail = f"{len(unused)} of {len(entries.categories)}: {names}"
        yield Finding(Kind.CLASS_UNUSED, entries.split, str(entries.path), detail)


def _odd_labels(annotation: AnnotationEntry, categories: Mapping[int, Category]) -> Iterator[tuple[Kind, str]]:
    known = [(info, categories[info["category_id"]]) for info in annotation.infos if info["category_id"] in categories]
    wrong = [info["id"] for info, category in known if "isthing" in info and info["isthing"] != category.isthing]
    if wrong:
        yield Kind.ISTHING_DIFFERS, f"ids {wrong[:5]}"
    stuff = Counter(category.name for info, category in known if not (category.isthing or info.get("iscrowd")))
    pieces = [f"{count} of {name}" for name, count in stuff.items() if count > 1]
    if pieces:
        yield Kind.STUFF_SPLIT, ", ".join(pieces)
    crowds = Counter(category.name for info, category in known if info.get("iscrowd"))
    if crowds:
        yield Kind.CROWD, ", ".join(f"{count} of {name}" for name, count in crowds.items())


def differing_categories(splits: Sequence[PanopticEntries]) -> Iterator[Finding]:
    """Splits whose ids, names or things are not those of the first; evaluation would refuse them."""
    readable = [entries for entries in splits if entries.categories]
    classes = [{(c.id, c.name, c.isthing) for c in entries.categories.values()} for entries in readable]
    for entries, own in zip(readable[1:], classes[1:], strict=True):
        names = sorted({name for _, name, _ in own ^ classes[0]})
        if names:
            detail = f"differs from {readable[0].path.name} in {', '.join(names[:10])}"
            yield Finding(Kind.CATEGORIES_DIFFER, entries.split, str(entries.path), detail)
