"""Ctrl-C and SIGTERM, obeyed at the end of a training step, or at once where nothing is lost by it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What asks a run to stop."""


class Stopped(BaseException):
    """A signal came where it is obeyed at once."""


class StopRequest:
    """Inside its `with` block the first SIGINT or SIGTERM is noted, not obeyed; the second acts at once.

    Python delivers signals to the main thread only: in another one the block changes nothing.

    Attributes:
        signal: what arrived, `None` when nothing did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._at_once = False

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._handlers = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """For a block that may be left anywhere: a signal in it, or one that came before, raises `Stopped`."""
        if self.signal is not None:
            raise Stopped
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def obey(self) -> None:
        """Ends the process the way that the signal would have; does nothing when none arrived."""
        if self.signal is not None:
            signal.raise_signal(self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()
        if self._at_once:
            raise Stopped
        with suppress(RuntimeError):  # Python refuses when the signal came in the middle of writing a line
            logger.warning("stopping after this step; a second time stops at once, without saving")

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
