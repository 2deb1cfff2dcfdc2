"""Downloaded archives, unpacked where the datasets expect their files."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pisr_core.data.coco_files import replacing
from pisr_core.data.coco_json import is_inside
from pisr_core.errors import DataError


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
            for done, member in enumerate(wanted, start=1):
                if not is_inside(member.name):
                    raise DataError(
                        f"{archive}: the path {member.name!r} leaves the folder. Do not trust this archive."
                    )
                path = folder / member.name.removeprefix(prefix)
                if not path.is_file() or path.stat().st_size != member.size:
                    _extract(member, path)
                    written += 1
                if progress is not None:
                    progress(done, len(wanted))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{archive}: is broken or no archive ({reason}). Download it again.") from error
    return written


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
                if info.isreg()
            ]


def _extract(member: Member, path: Path) -> None:
    source = member.open()
    assert source is not None  # only regular files are listed
    with source, replacing(path) as partial, partial.open("wb") as target:
        shutil.copyfileobj(source, target)
