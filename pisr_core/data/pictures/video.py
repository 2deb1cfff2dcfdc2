"""Films: frames in, frames out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from pisr_core.errors import DataError, OutputError
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.patience import worker_pool

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg writes of broken films to stderr; we do it once

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})

DEFAULT_FPS = 25.0
"""Of films that do not tell theirs."""

HIGHEST_FPS = 1000.0
"""A film that tells more is damaged."""

MOST_FRAMES = 10**9
"""A film that announces more is damaged."""

WHOLE = 0.95
"""Share of the announced number of frames that a whole film has; containers may announce a few too many."""


class Video:
    """A film that can be read once.

    Args:
        path: a file that OpenCV can decode.

    Attributes:
        frames: how many its container announces, 0 where it does not.
        fps: frames a second.

    Raises:
        DataError: it is no film, or its first frame cannot be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        self._first = self._read()
        if self._first is None:
            raise DataError(f"{path}: cannot be read as a video. Check that the file exists and plays, or convert it.")
        announced, fps = (self._capture.get(name) for name in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        self.frames = int(announced) if 0 < announced < MOST_FRAMES else 0
        self.fps = fps if 0 < fps <= HIGHEST_FPS else DEFAULT_FPS

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """Its frames, RGB.

        Raises:
            DataError: after the last frame of a film that has many fewer than its container announces, and where the
                size changes.
        """
        count, frame = 0, self._first
        while frame is not None:
            if self._first is not None and frame.shape != self._first.shape:
                sizes = " to ".join(f"{height}×{width}" for height, width, _ in (self._first.shape, frame.shape))
                raise DataError(
                    f"{self.path}: after {count} frames the size changes from {sizes} pixels. What comes before was "
                    "predicted; cut the film there, or export it in one size."
                )
            count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            frame = self._read()
        self._capture.release()
        if count < WHOLE * self.frames:
            raise DataError(
                f"{self.path}: the video breaks off after {count} of {self.frames} frames. What could be read was "
                "predicted; download or export it again for the rest."
            )

    def _read(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """The next frame; none at the end, and where a damaged one cannot be decoded."""
        try:
            return self._capture.read()[1]
        except cv2.error:
            return None


@contextmanager
def written_video(path: Path, fps: float) -> Iterator[Callable[[UInt8[np.ndarray, "H W 3"]], None]]:
    """Lends a function that adds a frame (RGB) to an MP4, which appears under its name when the block ends well.

    All frames get the size of the first; of odd sides a line is lost. A thread encodes a frame while the caller
    makes the next.

    Args:
        path: the file.
        fps: frames a second.

    Raises:
        OutputError: the disk is full, the folder cannot be written, or OpenCV cannot write such a film.
    """
    with written_whole(path, sync=False) as part:
        film = part.with_suffix(path.suffix)  # OpenCV goes by the ending
        encoder = _Encoder(film, fps)
        try:
            with worker_pool(1) as pool:  # has ended before the encoder is closed
                pending: deque[Future[None]] = deque()

                def add(frame: UInt8[np.ndarray, "H W 3"]) -> None:
                    if pending:
                        pending.popleft().result()
                    pending.append(pool.submit(encoder.add, frame))

                yield add
                if pending:
                    pending.popleft().result()
            encoder.close()
            film.replace(part)
        finally:
            encoder.close()
            film.unlink(missing_ok=True)


class _Encoder:
    """OpenCV's writer, opened with the size of the first frame."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.fps = fps
        self._writer = cv2.VideoWriter()
        self._size = (0, 0)

    def add(self, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        if not self._writer.isOpened():
            size = (frame.shape[1], frame.shape[0])
            if not self._writer.open(str(self.path), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, size):
                raise OutputError(f"{self.path}: OpenCV cannot write a video of {size[0]}×{size[1]} pixels.")
            self._size = size
        if frame.shape[1::-1] != self._size:  # OpenCV would leave it out
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()
