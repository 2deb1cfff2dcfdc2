"""What the system has against a file, and what to do about it: a message for each cause."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pisr_core.errors import OutputError

CURES = {
    errno.EACCES: "Choose another folder, or have its owner let you write there",
    errno.EPERM: "Choose another folder, or have its owner let you write there",
    errno.EROFS: "Choose a folder elsewhere, or mount this one for writing",
    errno.ENOSPC: "Free some space there or choose another folder",
    errno.EDQUOT: "Free some space of yours there or choose another folder",
    errno.EFBIG: "Let files grow larger (`ulimit -f`), or choose a folder on another file system",
    errno.EMFILE: "Let more files be open at once (`ulimit -n`)",
    errno.ENFILE: "Close other programs: the whole machine has too many files open",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EIO: "See to that disk, or choose a folder on another one",
    errno.ESTALE: "Mount that file system anew, or choose another folder",
    errno.ELOOP: "A link there leads to itself: remove it",
}

PATH_TAKEN = (errno.ENOTDIR, errno.EEXIST)
FOLDER = (errno.EISDIR, errno.ENOTEMPTY)


def unwritable(path: Path, error: OSError) -> OutputError:
    """The message for a file that cannot be written."""
    reason, cure = obstacle(path, error) or (str(error), "Choose another folder")
    return OutputError(f"{path}: cannot be written ({reason}). {cure}.")


def check_writable(path: Path, folder: bool) -> None:
    """Finds before the work what would be in the way of its results.

    Args:
        path: where they are to go.
        folder: whether that is to be a folder.

    Raises:
        OutputError: a file stands where a folder should be, or the nearest folder that is there cannot be written.
    """
    if _file_in_the_way(path if folder else path.parent):
        raise unwritable(path, NotADirectoryError(errno.ENOTDIR, ""))
    nearest = next(part for part in (path.absolute(), *path.absolute().parents) if part.is_dir())
    if not os.access(nearest, os.W_OK):
        read_only = os.statvfs(nearest).f_flag & os.ST_RDONLY
        raise unwritable(path, OSError(errno.EROFS if read_only else errno.EACCES, ""))


def obstacle(path: Path, error: OSError) -> tuple[str, str] | None:
    """The reason for an error and its cure, `None` where it is nothing that a user could mend.

    Args:
        path: the file that was to be written or read.
        error: the system's.
    """
    if error.errno in PATH_TAKEN and (file := _file_in_the_way(path)):
        return f"{file} is a file, not a folder", "Move it away or choose another folder"
    if error.errno in FOLDER and path.is_dir():
        return "it is a folder", "Move it away or choose another name"
    if error.errno not in CURES:
        return None
    return os.strerror(error.errno), CURES[error.errno]


def _file_in_the_way(path: Path) -> Path | None:
    """The first part of a path that should be a folder and is not."""
    parts = [*reversed(path.parents), path]
    return next((part for part in parts if os.path.lexists(part) and not part.is_dir()), None)
