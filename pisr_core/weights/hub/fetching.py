"""Models of the Hugging Face hub, through its own client: its cache, resumed downloads, tokens and revisions.

What its users know holds here: `HF_HOME` and `HF_HUB_CACHE` say where models are kept, `HF_TOKEN` or `hf auth login`
who asks, `HF_HUB_OFFLINE=1` that nothing is asked, `HF_ENDPOINT` whom.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from pisr_core.errors import CheckpointError
from pisr_core.runtime.quiet import errors_only

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all (0 where the server does not say)."""

CONFIG, PROCESSOR, VIDEO_PROCESSOR = "config.json", "preprocessor_config.json", "video_preprocessor_config.json"
SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"

OUR_KIND = "pisr"
"""What the `config.json` of our own models says."""

_FAILURES: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, EntryNotFoundError, HFValidationError)
"""What the client raises: the errors of its HTTP library and of files, and its own."""

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

_ID = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"


@dataclass(frozen=True)
class HubName:
    """A model's name on the hub.

    Attributes:
        id: `USER/NAME`.
        revision: a branch, a tag or a commit; `None` for the main branch.
    """

    id: str
    revision: str | None = None

    @property
    def page(self) -> str:
        """Its address for people."""
        return f"{constants.ENDPOINT}/{self.id}"

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"


def parse_hub_name(text: str) -> HubName | None:
    """`USER/NAME` or `USER/NAME@REVISION`; `None` for what is none."""
    name, at, revision = text.partition("@")
    if not re.fullmatch(_ID, name) or (at and not revision):
        return None
    return HubName(name, revision or None)


def fetch_model(name: HubName, progress: Progress, check: Callable[[Path], object] | None = None) -> Path:
    """The folder of a model with its configuration, its processor and its weights, in the client's cache.

    Safetensors are taken where there are, else `pytorch_model.bin`. Without a network, or where the hub is not to be
    asked, what the cache has is taken.

    Args:
        name: of the model.
        progress: hears how much is fetched.
        check: looks at `config.json`, where there is one, before the weights are fetched; raises what it finds wrong.

    Raises:
        CheckpointError: there is no such model or revision, it is gated, it holds no weights, the network is down
            and the cache lacks it, or the disk is full.
    """
    with _failures_named(name), errors_only("huggingface_hub"):
        try:
            # Sizes come with the listing.
            info = HfApi().model_info(name.id, revision=name.revision, files_metadata=True)
        except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
            raise
        except _FAILURES as error:
            return _cached(name, error)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        wanted = needed_files(name, sizes)
        done, total = 0, sum(sizes[file] for file in wanted)
        for file in wanted:
            path = hf_hub_download(name.id, file, revision=name.revision, tqdm_class=_bar(progress, done, total))
            done += sizes[file]
            progress(done, total)
            if file == CONFIG and check is not None:
                check(Path(path))
        return Path(path).parents[file.count("/")]


def needed_files(name: HubName, files: Iterable[str]) -> list[str]:
    """Those that a model is read from, the weights last.

    Raises:
        CheckpointError: none of them are weights that can be read.
    """
    names = set(files)
    small = sorted(names & {CONFIG, PROCESSOR, VIDEO_PROCESSOR})
    for weights in (SAFETENSORS, PICKLED):
        stem, _, kind = weights.partition(".")
        parts = sorted(file for file in names if re.fullmatch(rf"{stem}-\d+-of-\d+\.{kind}", file))
        index = f"{weights}.index.json"
        if weights in names:
            return [*small, weights]
        if parts and index in names:
            return [*small, index, *parts]
    shown = ", ".join(sorted(names)[:5]) or "nothing"
    raise CheckpointError(
        f"{name}: {name.page} has neither {SAFETENSORS} nor {PICKLED} (it has {shown}). Name a model with weights of "
        "PyTorch; `pisr weights list` shows known ones."
    )


def _cached(name: HubName, error: Exception) -> Path:
    """What the cache has of a model that cannot be asked for."""
    try:
        folder = Path(snapshot_download(name.id, revision=name.revision, local_files_only=True))
        needed_files(name, (path.relative_to(folder).as_posix() for path in folder.rglob("*")))
    except _FAILURES + (CheckpointError,):
        raise error from None
    return folder


def push_folder(folder: Path, name: HubName, private: bool) -> None:
    """Uploads all files of a folder as one commit to a model, which is made where there is none.

    Args:
        folder: what to upload.
        name: of the model.
        private: whether a new model is seen by its owner only.

    Raises:
        CheckpointError: the hub cannot be reached, or the user may not write there.
    """
    api = HfApi()
    try:
        with errors_only("huggingface_hub"):
            api.create_repo(name.id, private=private or None, exist_ok=True)
            api.upload_folder(folder_path=folder, repo_id=name.id, commit_message="Upload with pisr")
    except _FAILURES as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
            reason = f"you may not write there; {LOG_IN} to a token that may"
        else:
            reason = f"{_reason(error)}. Check the network and call again"
        raise CheckpointError(f"{name}: {folder} cannot be uploaded to {constants.ENDPOINT}: {reason}.") from error


@contextmanager
def _failures_named(name: HubName) -> Iterator[None]:
    """Turns what the client raises into one message with its cure."""
    try:
        yield
    except _FAILURES as error:
        raise CheckpointError(_message(name, error)) from error


def _message(name: HubName, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return (
            f"{name}: the licence of this model must be accepted first. Do so on {name.page}, then {LOG_IN} to a token "
            "of the same account, and call again."
        )
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return (
            f"{name}: no such file or folder here, and no such model on {constants.ENDPOINT}. `pisr weights list` "
            f"shows known names; for a private model {LOG_IN}."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{name}: the model has no such branch, tag or commit. {name.page}/tree/main lists them."
    if isinstance(error, OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return (
            f"{name}: not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE is set. Unset it once where "
            "there is a network, or copy the cache of a machine that has the model."
        )
    if isinstance(error, LocalTokenNotFoundError):
        return f"{name}: a token is needed: {LOG_IN}."
    return (
        f"{name}: cannot be fetched from {constants.ENDPOINT} ({_reason(error)}), and the cache "
        f"({constants.HF_HUB_CACHE}) lacks it. Check the network and the disk and call again, which continues."
    )


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


def _bar(progress: Progress, before: int, total: int) -> type[tqdm]:
    """A bar as the client wants one, which draws nothing and tells `progress`."""

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)  # of the group of bars, which the client's own class knows
            super().__init__(*arguments, **(options | {"file": io.StringIO(), "disable": False}))

        def display(self, *_: Any, **__: Any) -> bool:
            progress(before + int(self.n), total)
            return True

    return Bar
