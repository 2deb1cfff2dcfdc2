"""What `pisr` finds on this machine: versions, devices, datasets, caches."""

from __future__ import annotations

import os
import platform
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from pisr_core.data.checking.reading.splits import LAYOUTS, find_splits
from pisr_core.data.layouts import ROOT_VARIABLES, dataset_root
from pisr_core.errors import DataError

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "transformers",
    "safetensors",
    "huggingface-hub",
    "filelock",
    "tensorboard",
    "numpy",
    "msgspec",
    "kornia-rs",
    "scipy",
    "opencv-python-headless",
    "pillow",
    "matplotlib",
    "pycocotools",
    "cityscapesscripts",
    "jaxtyping",
    "tomli-w",
    "typer",
    "rich",
)
"""What `pisr` needs."""

EXTRAS = {"export": ("onnx", "onnxruntime", "onnxscript"), "wandb": ("wandb",)}
"""What its extras add."""


@dataclass(frozen=True)
class Device:
    """Something that computes.

    Attributes:
        name: what `--device` takes.
        model: its maker's name for it.
        memory: bytes.
    """

    name: str
    model: str
    memory: int | None


@dataclass(frozen=True)
class Environment:
    """All that matters for a report of a problem.

    Attributes:
        python: its version.
        system: the operating system.
        packages: versions of `pisr` and of what it needs.
        extras: by the extra's name, versions of what it adds; `None` where a package is missing.
        devices: the fastest last.
        cuda: the version of CUDA that torch was built for, if any.
        cores: that this process may use.
        threads: that torch uses for one operation.
        datasets_root: where datasets are looked for.
        datasets_root_from: the variable that says so; `None` for the default.
        datasets: folders of the annotations that are there, by dataset and split.
        caches: folders into which public weights of backbones are fetched.
    """

    python: str
    system: str
    packages: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    devices: tuple[Device, ...]
    cuda: str | None
    cores: int
    threads: int
    datasets_root: str
    datasets_root_from: str | None
    datasets: dict[str, dict[str, str]]
    caches: dict[str, str]


def find_environment(root: Path | None = None) -> Environment:
    """Looks around; nothing is fetched or written.

    Args:
        root: the folder of the datasets, see `dataset_root`.
    """
    return Environment(
        python=platform.python_version(),
        system=platform.platform(),
        packages={"pisr": _own_version()} | {name: _version(name) for name in PACKAGES},
        extras={extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        devices=tuple(_devices()),
        cuda=torch.version.cuda,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        datasets_root=str(dataset_root(root)),
        datasets_root_from=None if root else next((name for name in ROOT_VARIABLES if os.environ.get(name)), None),
        datasets=_datasets(dataset_root(root)),
        caches=_caches(),
    )


def _own_version() -> str | None:
    """The installed one, or that of the checkout that runs."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    installed = _version("pisr")
    if installed is not None or not project.is_file():
        return installed
    own = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    return f"{own}, not installed: the checkout in {project.parent}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[Device]:
    yield Device("cpu", platform.processor() or platform.machine(), _memory())
    if torch.backends.mps.is_available():
        yield Device("mps", "Apple GPU", None)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Device(f"cuda:{index}", properties.name, properties.total_memory)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _datasets(root: Path) -> dict[str, dict[str, str]]:
    found = {}
    for name in LAYOUTS:
        try:
            found[name] = {source.name: str(source.paths.json_path) for source in find_splits(root, name)}
        except DataError:
            continue
    return found


def _caches() -> dict[str, str]:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    hub = os.environ.get("HF_HOME") or os.path.join(home, "huggingface")
    return {"huggingface": hub, "torch": torch.hub.get_dir()}
