"""What `pisr eval --film` says."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pisr_cli.terminal.console import print_json, results, score, score_table

if TYPE_CHECKING:
    from pisr_core.metrics.films import FilmResult


def show_films(result: FilmResult, as_json: bool) -> None:
    """The scores, as tables or as JSON."""
    if as_json:
        windows = {str(k): asdict(quality) for k, quality in result.windows.items()}
        print_json(asdict(result) | {"windows": windows})
        return
    table = score_table("Video panoptic quality", ("frames in a row", "VPQ", "SQ", "RQ"))
    for k, quality in result.windows.items():
        table.add_row(str(k), score(quality.pq), score(quality.sq), score(quality.rq))
    table.add_row("mean", score(result.vpq), "", "", style="bold")
    results.print(table)
    results.print(f"VPQ of things {score(result.vpq_things)}, of stuff {score(result.vpq_stuff)}")
    results.print(f"STQ {score(result.stq)}: AQ {score(result.aq)}, SQ {score(result.sq)}")
    results.print(f"{result.id_switches} changes of id in {result.frames} frames of {result.films} films")
