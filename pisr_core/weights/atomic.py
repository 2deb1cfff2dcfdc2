"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pisr_core.errors import CheckpointError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lends a path beside `path` to write to, then renames that file to `path` once it is on the disk.

    A process that is killed meanwhile leaves what `path` held before, and a `.part` file that the next
    write replaces.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written. `path` holds what it held before.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch.save says RuntimeError on a full disk
        if part.is_file():
            part.unlink()
        raise CheckpointError(
            f"{path}: cannot be written ({error}). Free some space there or choose another folder."
        ) from error
