"""How fast a run goes, and how much of its time it waits for images."""

from __future__ import annotations

from collections import deque

WINDOW = 50
"""Steps over which both are averaged."""

TOO_LONG = 0.25
"""The share of waiting above which a person should know."""


class Pace:
    """The last steps of a run.

    Args:
        images: of a step, all processes together.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._steps: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._seen = 0
        self._told = False

    def add(self, waited: float, computed: float) -> None:
        """A step: seconds until its images were there, and from then on."""
        self._seen += 1
        self._steps.append((waited, computed))

    @property
    def images_per_second(self) -> float:
        """Evaluations and saving left out."""
        return self._images * len(self._steps) / sum(map(sum, self._steps))

    @property
    def waiting(self) -> float:
        """The share of the time in which nothing was there to compute."""
        return sum(waited for waited, _ in self._steps) / sum(map(sum, self._steps))

    def waits_too_long(self) -> bool:
        """Whether a person should know now; once. The first step, in which the workers start, is not judged."""
        if self._told or self._seen <= WINDOW or self.waiting <= TOO_LONG:
            return False
        self._told = True
        return True


def waiting_advice(waiting: float, workers: int, most: int) -> str:
    """What a run that waits too long says.

    Args:
        waiting: share of its time.
        workers: processes that load its images.
        most: that its cores allow.
    """
    cure = (
        f"There are cores for {most}: stop (Ctrl-C) and continue with --set data.workers={most} --resume"
        if workers < most
        else "No core is left for more of them, but images that are stored no larger than training needs load faster"
    )
    return f"{waiting:.0%} of the time is spent waiting for images (data.workers = {workers}). {cure}."
