"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pisr_core.runtime.obstacles import unwritable


@contextmanager
def written_whole(path: Path, sync: bool = True) -> Iterator[Path]:
    """Lends a path beside `path` to write to, then renames that file to `path`.

    A process that is killed meanwhile leaves what `path` held before, and a hidden `.part` file.

    Args:
        path: the file; its folder is made when it is missing.
        sync: wait until the file is on the disk, so that it outlasts a power cut. Many small files do without.

    Raises:
        OutputError: the disk is full or the folder cannot be written. `path` holds what it held before.
    """
    # Its own name for each process: two that write the same file at once must not write into each other's.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if sync:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        reason = _system_error(error)
        if reason is None:
            raise
        raise unwritable(path, reason) from error
    finally:
        with suppress(OSError):  # renamed, or never made
            part.unlink()


def _system_error(error: BaseException | None) -> OSError | None:
    """The error itself or one behind it: `torch.save` hides that of the file it writes to behind a `RuntimeError`."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error
