"""Public files, fetched once: resumed where a call was interrupted, and their bytes checked."""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit

from filelock import FileLock

from pisr_core.errors import DownloadError

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all (0 where the server does not say)."""

CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without an answer after which a server counts as out of reach."""


@dataclass(frozen=True)
class PublicFile:
    """A file that anyone may fetch.

    Attributes:
        url: where it is.
        digest: how its bytes are checked, `md5:` or `sha256:` and the hex digest or its beginning; empty where none is
            known.
        instead: what helps where it cannot be fetched, for messages.
    """

    url: str
    digest: str
    instead: str

    @property
    def name(self) -> str:
        """Its name at the source."""
        return PurePosixPath(urlsplit(self.url).path).name


def download(source: PublicFile, folder: Path, progress: Progress) -> Path:
    """Fetches a file, or finds it where an earlier call has put it.

    A `.part` file that an interrupted call left is continued where the server can do that.

    Args:
        source: the file.
        folder: where it goes, under its name at the source.
        progress: hears how far it is.

    Returns:
        The file's path.

    Raises:
        DownloadError: the server is out of reach or refuses, the connection broke, or the bytes are wrong.
    """
    path = folder / source.name
    if path.is_file():
        logger.info("%s is there already", path)
        _check_digest(path, source)
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(part):  # of several processes one fetches
            if not path.is_file():
                _stream(source.url, part, progress)
                _finish(part, path, source)
    except (OSError, HTTPException) as error:  # urllib's own errors are OSErrors
        raise DownloadError(
            f"{source.url} cannot be fetched ({error}). Check the network and call again, which continues; or fetch "
            f"the file by other means and {source.instead}."
        ) from error
    return path


@contextmanager
def _only_one(part: Path) -> Iterator[None]:
    """One process at a time; the lock's file goes with the last."""
    lock = Path(f"{part}.lock")
    try:
        with FileLock(lock):
            yield
    finally:
        lock.unlink(missing_ok=True)


def _finish(part: Path, path: Path, source: PublicFile) -> None:
    """Gives a whole file its final name, and removes one with the wrong bytes."""
    try:
        _check_digest(part, source)
    except DownloadError:
        part.unlink()
        raise
    os.replace(part, path)


def _stream(url: str, part: Path, progress: Progress) -> None:
    """Appends what is missing to the `.part` file; begins anew where the server does not continue."""
    there = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            there = there if response.status == HTTPStatus.PARTIAL_CONTENT else 0
            total = there + int(response.headers.get("Content-Length", 0))
            with part.open("ab" if there else "wb") as file:
                _copy(response, file, there, total, progress)
    except HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing is missing: the earlier call was interrupted between the last byte and the check.


def _copy(response: HTTPResponse, file: BinaryIO, there: int, total: int, progress: Progress) -> None:
    progress(there, total)
    while chunk := response.read(CHUNK):
        file.write(chunk)
        there += len(chunk)
        progress(there, total)
    if there < total:
        raise ConnectionError(f"the connection broke after {there} of {total} bytes")


def _check_digest(path: Path, source: PublicFile) -> None:
    """Raises `DownloadError` when a file's bytes are not the published ones."""
    if not source.digest:
        logger.warning("no digest is published for %s: its bytes were not checked", source.name)
        return
    algorithm, _, beginning = source.digest.partition(":")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    if not digest.startswith(beginning):
        raise DownloadError(
            f"{path}: its {algorithm} is {digest}, but that of {source.url} begins with {beginning}. "
            "Fetch it again, and remove the file first if it is still there."
        )
