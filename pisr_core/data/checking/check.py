"""A whole dataset looked at, in several processes: what is wrong, what it holds, what it suggests."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from pisr_core.data.checking.entries import PanopticEntries
from pisr_core.data.checking.findings import Finding, Kind, Severity
from pisr_core.data.checking.folders import Copies, extra_files, missing_folders
from pisr_core.data.checking.inspection import Inspection, Pair, inspect_pair
from pisr_core.data.checking.labels import differing_categories, label_findings
from pisr_core.data.checking.mending import Mender
from pisr_core.data.checking.settings import Suggestion, suggest_settings
from pisr_core.data.checking.splits import SplitSource
from pisr_core.data.checking.statistics import DatasetStatistics
from pisr_core.errors import ConfigError, DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.parallel import parallel_map

FEW_IMAGES = 200
"""Up to so many are looked at before other processes would have started."""


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes:
        sources: the splits.
        findings: sorted from the worst kind.
        statistics: over all splits; `None` after a quick look.
        settings: what they suggest.
        images: how many were looked at.
        seconds: that it took.
        changes: what the mended JSON changes, if one was asked for.
    """

    sources: tuple[SplitSource, ...]
    findings: tuple[Finding, ...]
    statistics: DatasetStatistics | None
    settings: tuple[Suggestion, ...]
    images: int
    seconds: float
    changes: Counter[str] | None = None

    @property
    def errors(self) -> int:
        """Findings that would stop training or evaluation."""
        return self._count(Severity.ERROR)

    @property
    def warnings(self) -> int:
        """Findings that are surely not meant."""
        return self._count(Severity.WARNING)

    @property
    def notes(self) -> int:
        """Findings that are good to know."""
        return self._count(Severity.NOTE)

    def _count(self, severity: Severity) -> int:
        return sum(finding.kind.severity is severity for finding in self.findings)

    def by_kind(self) -> dict[Kind, list[Finding]]:
        """The findings of each kind that occurs."""
        return {kind: list(found) for kind, found in groupby(self.findings, key=lambda finding: finding.kind)}

    def to_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "splits": {
                source.name: {name: str(path) for name, path in vars(source.paths).items()} for source in self.sources
            },
            "images": self.images,
            "seconds": round(self.seconds, 3),
            "errors": self.errors,
            "warnings": self.warnings,
            "notes": self.notes,
            "kinds": {
                kind.label: {"severity": kind.severity, "count": len(found), "cure": kind.cure}
                for kind, found in self.by_kind().items()
            },
            "findings": [finding.to_json() for finding in self.findings],
            "statistics": self.statistics and self.statistics.to_json(),
            "settings": [suggestion.to_json() for suggestion in self.settings],
            "changes": self.changes,
        }


def check_data(
    sources: Sequence[SplitSource],
    workers: int = 0,
    limit: int = 0,
    quick: bool = False,
    mend_into: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Looks at every entry, image and PNG of some splits; goes on after every fault.

    Args:
        sources: the splits.
        workers: processes, 0 for one a core.
        limit: look at the files of the first so many images of each split, 0 for all.
        quick: read the headers of the files only: sizes and modes, no pixels, no statistics.
        mend_into: write the JSON of the only split there, with all mended that can be.
        progress: called with (done, total) after each image.

    Raises:
        ConfigError: to mend, all pixels of one split must be seen.
        DataError: `mend_into` exists already.
        OutputError: it cannot be written.
    """
    if mend_into is not None:
        _check_mendable(sources, limit, quick, mend_into)
    start = time.perf_counter()
    splits = [PanopticEntries(source.paths.json_path, source.name) for source in sources]
    statistics = DatasetStatistics({k: c for entries in reversed(splits) for k, c in entries.categories.items()})
    findings: list[Finding] = list(differing_categories(splits))
    pairs: list[Pair] = []
    for source, entries in zip(sources, splits, strict=True):
        findings += entries.findings
        findings += label_findings(entries, source.paths.png_dir)
        findings += unannotated_images(source, entries)
        gaps = list(missing_folders(source))
        findings += gaps
        pairs += [] if gaps else _pairs(source, entries, limit, quick)
    findings += extra_files(sources, splits)

    copies = Copies()
    inspections: dict[int, Inspection] = {}
    alone = len(pairs) <= FEW_IMAGES
    seen = parallel_map(inspect_pair, pairs, 1 if alone else workers, lambda pair: str(pair.image_path))
    for done, (pair, inspection) in enumerate(zip(pairs, seen, strict=True), start=1):
        findings += inspection.findings
        if inspection.digest is not None:
            copy = copies.compare(inspection.digest, pair.split, pair.image_path, pair.position)
            findings += [copy] if copy else []
        if inspection.shapes is not None and pair.annotation is not None:
            statistics.add(pair.annotation.infos, inspection.shapes)
        if mend_into is not None:
            inspections[pair.position] = inspection
        if progress is not None:
            progress(done, len(pairs))

    changes = None
    if mend_into is not None:
        changes = _write_mended(Mender(splits[0], findings, inspections), mend_into)
    order = {kind: position for position, kind in enumerate(Kind)}
    findings.sort(key=lambda finding: order[finding.kind])
    settings = () if quick else suggest_settings(statistics)
    seconds = time.perf_counter() - start
    return CheckReport(
        tuple(sources), tuple(findings), None if quick else statistics, settings, len(pairs), seconds, changes
    )


def unannotated_images(source: SplitSource, entries: PanopticEntries) -> Iterator[Finding]:
    """Images that no annotation names."""
    for position, image in entries.images.items():
        if image.id not in entries.annotated:
            path = str(source.image_path(image.file_name))
            yield Finding(Kind.ANNOTATION_MISSING, source.name, path, f"id {image.id!r}", ("images", position))


def _pairs(source: SplitSource, entries: PanopticEntries, limit: int, quick: bool) -> list[Pair]:
    images = list(entries.images.items())[: limit or None]
    pairs = []
    for position, image in images:
        annotation = entries.annotations.get(image.id)
        png_path = source.paths.png_dir / annotation.file_name if annotation else None
        image_path = source.image_path(image.file_name)
        pairs.append(Pair(source.name, position, image_path, image.size, png_path, annotation, quick))
    return pairs


def _check_mendable(sources: Sequence[SplitSource], limit: int, quick: bool, out: Path) -> None:
    if len(sources) != 1:
        raise ConfigError("--fix mends one JSON at a time: name one --split.")
    if limit or quick:
        raise ConfigError("--fix needs to see all pixels: leave out --limit and --quick.")
    if out.exists():
        raise DataError(f"{out}: exists already. Name another file for --fix; nothing is mended in place.")


def _write_mended(mender: Mender, out: Path) -> Counter[str]:
    if any(finding.kind is Kind.JSON_BROKEN for finding in mender.entries.findings):
        raise DataError(f"{mender.entries.path}: cannot be mended, for its lists cannot be read. Export it again.")
    content = mender.mended()
    with written_whole(out) as part:
        part.write_text(json.dumps(content), encoding="utf-8")
    return mender.changes
