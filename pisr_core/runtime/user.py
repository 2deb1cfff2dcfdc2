"""A user as containers have them: without a name, without a home, perhaps with a single folder to write to."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
"""May be written to where all else is read-only."""

CACHES = {"XDG_CACHE_HOME": "", "MPLCONFIGDIR": "matplotlib"}
"""The variables that say where libraries keep what they fetch and make, with folders for it."""


def settle_user() -> None:
    """Gives this process what libraries ask the system for when they are imported, and what it may not have.

    Torch's compiler, which torchvision imports, asks for the user's name and for a temporary folder; matplotlib,
    huggingface_hub and torch.hub want a folder to keep things in. What the environment says already is left as it is.
    """
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        name = os.environ["LOGNAME"] = f"uid{os.getuid()}"
    temporary = _temporary_folder()
    if temporary is not None and not _usable(_cache_home()):
        folder = _own_folder(temporary / f"pisr-{name}")
        for variable, part in CACHES.items():
            os.environ.setdefault(variable, str(folder / part))


def _temporary_folder() -> Path | None:
    """For files that may go: Python's choice, unless that is the working folder, which it takes at last."""
    try:
        found = tempfile.gettempdir()
    except FileNotFoundError:
        found = tempfile.tempdir = "/tmp"  # so that those who only ask for its name go on
    if _writable(Path(found)) and found != os.getcwd():
        return Path(found)
    if not _writable(SHARED_MEMORY):
        return None
    tempfile.tempdir = os.environ["TMPDIR"] = str(SHARED_MEMORY)
    return SHARED_MEMORY


def _cache_home() -> Path:
    """Where caches lie by default; a relative path where not even the home is known."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"))


def _usable(folder: Path) -> bool:
    """Whether it can be written to, or made."""
    nearest = next((parent for parent in (folder, *folder.parents) if parent.exists()), None)
    return folder.is_absolute() and nearest is not None and _writable(nearest)


def _writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _own_folder(folder: Path) -> Path:
    """Made for this user alone: whoever else made one of that name could put weights into it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder if folder.stat().st_uid == os.getuid() else Path(tempfile.mkdtemp(prefix="pisr-"))
