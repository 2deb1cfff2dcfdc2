"""The one table from exceptions to exit codes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pisr_cli.terminal.console import alerts
from pisr_cli.terminal.low_memory import failed_import
from pisr_core.errors import PisrError
from pisr_core.runtime.obstacles import obstacle

EXIT_CODES: dict[type[BaseException], int] = {
    PisrError: 2,
    KeyboardInterrupt: 130,
}
"""What the user can mend or has asked for. All else is a bug: Python's traceback and exit code 1."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Replaces an exception of the table by its message on stderr and `SystemExit` with its code."""
    try:
        with _device_faults_named(), _obstacles_named():
            yield
    except tuple(EXIT_CODES) as error:
        alerts.print(f"error: {error}" if str(error) else "interrupted", style="red", soft_wrap=True)
        raise SystemExit(_code(error)) from None


@contextmanager
def _device_faults_named() -> Iterator[None]:
    """Turns what torch says of a device that is out of memory, or lost, into a message for the user."""
    try:
        yield
    except (RuntimeError, MemoryError, ImportError, OSError) as error:
        if (short := failed_import(error)) is not None:
            raise short from error
        if isinstance(error, ImportError | OSError):
            raise
        from pisr_core.runtime.devices.device import device_error

        fault = device_error(error, "Use smaller images or batches, or another --device, such as cpu.")
        if fault is None:
            raise
        raise fault from error


@contextmanager
def _obstacles_named() -> Iterator[None]:
    """Says what is in the way of a file, and the cure, where that is something that the user can mend."""
    try:
        yield
    except OSError as error:
        path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        found = obstacle(path or Path(), error)
        if found is None:
            raise
        reason, cure = found
        raise PisrError(f"{f'{path}: ' if path else ''}{reason}. {cure}.") from error


def _code(error: BaseException) -> int:
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
