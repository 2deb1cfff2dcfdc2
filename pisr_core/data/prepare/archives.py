"""Downloaded archives, unpacked where the datasets expect their files."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pisr_core.data.coco.entries import is_inside, show
from pisr_core.errors import DataError
from pisr_core.runtime.atomic import written_whole

BROKEN_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    LookupError,
)
"""What reading broken, encrypted and unusual archives raises."""


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path there.
        size: bytes.
        open: opens it for reading.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, prefix: str = "", progress: Callable[[int, int], None] | None = None) -> int:
    """Unpacks the files of a zip or tar archive that are not there in full already.

    `shutil.unpack_archive` would begin anew after an interruption, and leave half a file behind.

    Args:
        archive: the zip or tar file, compressed or not.
        folder: where to.
        prefix: only files whose path in the archive begins so; the rest of it is their path in the folder.
        progress: called with (done, total) files.

    Returns:
        How many files were written.

    Raises:
        DataError: the archive is broken, a path in it leaves the folder, or the disk is full.
    """
    written = 0
    try:
        with _opened(archive) as members:
            wanted = [member for member in members if member.name.startswith(prefix)]
            _check_space(archive, sum(member.size for member in wanted), folder)
            for done, member in enumerate(wanted, start=1):
                name = member.name.removeprefix(prefix)
                if not is_inside(name):
                    raise DataError(f"{archive}: the path {show(name)} leaves the folder. Do not trust this archive.")
                path = folder / name
                if not path.is_file() or path.stat().st_size != member.size:
                    _extract(member, path)
                    written += 1
                if progress is not None:
                    progress(done, len(wanted))
    except BROKEN_ARCHIVE_ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{archive}: is broken or no archive ({reason}). Download it again.") from error
    return written


def _check_space(archive: Path, needed: int, folder: Path) -> None:
    """Raises `DataError` when the files cannot fit, as those of a zip bomb; files that are there already count too."""
    home = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    there = shutil.disk_usage(home)
    if needed > there.free + there.used:
        raise DataError(f"{archive}: its files need {needed / 1e9:.1f} GB, more than the disk has. Do not trust it.")


@contextmanager
def _opened(archive: Path) -> Iterator[list[Member]]:
    """The files in an archive; links and folders are left out."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield [
                Member(info.filename, info.file_size, lambda info=info: zipped.open(info))  # type: ignore[misc]
                for info in zipped.infolist()
                if not info.is_dir()
            ]
    else:
        with tarfile.open(archive) as tarred:
            yield [
                Member(info.name, info.size, lambda info=info: tarred.extractfile(info))  # type: ignore[misc]
                for info in tarred
                if info.isreg() and not info.issparse()  # whose size need not be that of anything stored
            ]


def _extract(member: Member, path: Path) -> None:
    source = member.open()
    assert source is not None  # only regular files are listed
    with source, written_whole(path, sync=False) as partial, partial.open("wb") as target:
        shutil.copyfileobj(source, target)
