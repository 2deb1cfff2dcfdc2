"""Models by name: fetched before they are used, with a bar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pisr_cli.terminal.console import RUNS, progress_bar


def fetched(name: Path | None) -> Path:
    """The model named, which is then on this machine; without a name that of the newest run."""
    from pisr_core.inference.load import newest_checkpoint

    if name is None:
        return newest_checkpoint(RUNS)
    fetch(name, to_predict=True)
    return name


def fetch(name: Path, to_predict: bool = False) -> None:
    """Fetches weights that are not on this machine, with a bar that appears when there is something to fetch."""
    from pisr_core.weights.find import find_weights

    with ExitStack() as stack:
        bars: list[Callable[[int, int], None]] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar(str(name), in_bytes=True)))
            bars[0](done, total)

        find_weights(name, progress, to_predict)
