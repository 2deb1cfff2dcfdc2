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

from pisr_core.data.checking.findings import Finding, Kind, Severity
from pisr_core.data.checking.inspection import Inspection, Pair, inspect_pair
from pisr_core.data.checking.labels import differing_categories, label_findings
from pisr_core.data.checking.mending.annotations import Mender
from pisr_core.data.checking.mending.pngs import mended_pngs, write_mended_png
from pisr_core.data.checking.reading.entries import PanopticEntries
from pisr_core.data.checking.reading.folders import Copies, extra_files, missing_folders
from pisr_core.data.checking.reading.pairing import SplitPairs
from pisr_core.data.checking.reading.splits import SplitSource
from pisr_core.data.checking.settings import Suggestion, suggest_settings
from pisr_core.data.checking.statistics import DatasetStatistics
from pisr_core.errors import ConfigError, DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.processes.parallel import parallel_map

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
        mended_pngs: folder of the mended PNGs, if any were written.
    """

    sources: tuple[SplitSource, ...]
    findings: tuple[Finding, ...]
    statistics: DatasetStatistics | None
    settings: tuple[Suggestion, ...]
    images: int
    seconds: float
    changes: Counter[str] | None = None
    mended_pngs: Path | None = None

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
            "mended_pngs": str(self.mended_pngs) if self.mended_pngs else None,
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
        mend_into: write the JSON of the only split there, with all mended that can be; mended PNGs go into the
            folder of its name without `.json`.
        progress: called with (done, total) after each image.

    Raises:
        ConfigError: to mend, all pixels of one split must be seen.
        DataError: `mend_into` or its folder exists already.
        OutputError: it cannot be written.
    """
    if mend_into is not None:
        _check_mendable(sources, limit, quick, mend_into)
    start = time.perf_counter()
    splits = [SplitPairs(source, PanopticEntries(source.paths.json_path, source.name)) for source in sources]
    findings = list(differing_categories([split.entries for split in splits]))
    pairs: list[Pair] = []
    for split in splits:
        findings += _structural_findings(split)
        if not any(missing_folders(split.source)):
            if not quick:
                split.diagnose(workers)
            findings += split.findings
            pairs += split.pairs(limit, quick)
    findings += extra_files(splits)

    statistics = DatasetStatistics({k: c for s in reversed(splits) for k, c in s.entries.categories.items()})
    kept: dict[int, Inspection] = {}
    for pair, inspection in _inspected(pairs, findings, statistics, workers, progress):
        if mend_into is not None:  # of COCO's size, all would take much memory
            kept[pair.position] = inspection
    changes, mended_pngs = None, None
    if mend_into is not None:
        mender = Mender(splits[0].entries, findings, kept, splits[0].names)
        mended_pngs = _write_mended(mender, splits[0], mend_into, workers)
        changes = mender.changes
    order = {kind: position for position, kind in enumerate(Kind)}
    return CheckReport(
        tuple(sources),
        tuple(sorted(findings, key=lambda finding: order[finding.kind])),
        None if quick else statistics,
        () if quick else suggest_settings(statistics, [pair.image_path for pair in pairs]),
        len(pairs),
        time.perf_counter() - start,
        changes,
        mended_pngs,
    )


def _structural_findings(split: SplitPairs) -> Iterator[Finding]:
    """What the JSON and the folders alone say."""
    yield from split.entries.findings
    yield from label_findings(split.entries, split.source.paths.png_dir)
    yield from unannotated_images(split)
    yield from missing_folders(split.source)


def _inspected(
    pairs: Sequence[Pair],
    findings: list[Finding],
    statistics: DatasetStatistics,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[Pair, Inspection]]:
    """Looks at all images and PNGs, and adds what is found and counted."""
    copies = Copies()
    alone = len(pairs) <= FEW_IMAGES
    seen = parallel_map(inspect_pair, pairs, 1 if alone else workers, lambda pair: str(pair.image_path))
    for done, (pair, inspection) in enumerate(zip(pairs, seen, strict=True), start=1):
        findings += inspection.findings
        if inspection.digest is not None:
            copy = copies.compare(inspection.digest, pair.split, pair.image_path, pair.position)
            findings += [copy] if copy else []
        if inspection.shapes is not None and pair.annotation is not None:
            statistics.add(pair.annotation.infos, inspection.shapes)
        yield pair, inspection
        if progress is not None:
            progress(done, len(pairs))


def unannotated_images(split: SplitPairs) -> Iterator[Finding]:
    """Images that no annotation names."""
    for position, image in split.entries.images.items():
        if image.id not in split.entries.annotated:
            path = str(split.images[position])
            yield Finding(Kind.ANNOTATION_MISSING, split.source.name, path, f"id {image.id!r}", ("images", position))


def _check_mendable(sources: Sequence[SplitSource], limit: int, quick: bool, out: Path) -> None:
    if len(sources) != 1:
        raise ConfigError("--fix mends one JSON at a time: name one --split.")
    if limit or quick:
        raise ConfigError("--fix needs to see all pixels: leave out --limit and --quick.")
    if not out.suffix:
        raise ConfigError(f"--fix {out}: name a file that ends in .json; mended PNGs get the folder of that name.")
    for path in (out, out.with_suffix("")):
        if path.exists():
            raise DataError(f"{path}: exists already. Name another file for --fix; nothing is mended in place.")


def _write_mended(mender: Mender, split: SplitPairs, out: Path, workers: int) -> Path | None:
    """Writes the JSON, and where the PNGs' ids are others, all PNGs that it names; the folder of these."""
    if any(finding.kind is Kind.JSON_BROKEN for finding in mender.entries.findings):
        raise DataError(f"{mender.entries.path}: cannot be mended, for its lists cannot be read. Export it again.")
    content = mender.mended()
    with written_whole(out) as part:
        part.write_text(json.dumps(content), encoding="utf-8")
    if split.reading is None:
        return None
    pngs = list(mended_pngs(split, content["annotations"], out.with_suffix("")))
    mended = sum(parallel_map(write_mended_png, pngs, 1 if len(pngs) <= FEW_IMAGES else workers))
    mender.changes[f"PNGs: ids corrected ({split.reading.meaning})"] += mended
    return out.with_suffix("")
