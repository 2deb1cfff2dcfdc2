"""`pisr env`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pisr_cli.terminal.console import print_json, results, text_table
from pisr_cli.terminal.options import Data, Json

if TYPE_CHECKING:
    from pisr_core.environment import Environment


def env(
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what is here: versions, devices, memory, datasets, caches. Good to add to a report of a problem.

    Example: pisr env
    """
    from pisr_core.environment import find_environment

    found = find_environment(data)
    if as_json:
        print_json(asdict(found))
    else:
        _show(found)


def _show(found: Environment) -> None:
    table = text_table("Environment", ("what", "found"))
    table.add_row("python", f"{found.python}, {found.system}")
    for name, version in found.packages.items():
        table.add_row(name, version or "missing")
    for extra, packages in found.extras.items():
        missing = [name for name, version in packages.items() if version is None]
        versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
        cure = f"missing: {', '.join(missing)}; pip install '.[{extra}]'"
        table.add_row(f"extra: {extra}", cure if missing else versions)
    for device in found.devices:
        memory = f", {device.memory / 2**30:.1f} GiB" if device.memory else ""
        table.add_row(f"device: {device.name}", f"{device.model}{memory}")
    table.add_row("cores, threads", f"{found.cores}, {found.threads}")
    table.add_row("CUDA of torch", found.cuda or "none")
    source = f" (${found.datasets_root_from})" if found.datasets_root_from else ""
    table.add_row("datasets", f"{found.datasets_root}{source}{'' if found.datasets else ': none there'}")
    for dataset, splits in found.datasets.items():
        table.add_row(f"dataset: {dataset}", "\n".join(f"{split}: {path}" for split, path in splits.items()))
    for cache, folder in found.caches.items():
        table.add_row(f"cache: {cache}", folder)
    results.print(table)
