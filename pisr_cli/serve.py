"""`pisr serve`."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from pisr_cli.terminal.checkpoints import fetched
from pisr_cli.terminal.console import print_json, say
from pisr_cli.terminal.imports import quick_imports
from pisr_cli.terminal.options import Json, NetworkOptions, grouped
from pisr_core.errors import ConfigError

LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens, and what it takes."""

    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.")] = 8000
    queue: Annotated[int, typer.Option(min=0, help="Images that may wait; more are sent away.", metavar="N")] = 8
    max_megabytes: Annotated[float, typer.Option(min=0.001, help="Of an upload.", metavar="N")] = 20.0
    max_megapixels: Annotated[float, typer.Option(min=0.001, help="Of an image.", metavar="N")] = 40.0


@grouped(network="A model", server="The server")
def serve(network: NetworkOptions, server: ServerOptions, as_json: Json = False) -> None:
    """Show a model in the browser, and answer programs over HTTP.

    A page takes photos and shows segments and PISR's heatmaps; POST /predict gives COCO panoptic JSON and PNG.
    Needs: pip install 'pisr[serve]'

    Example: pisr serve --checkpoint runs/first/best.safetensors

    Example: pisr serve --checkpoint eomt-s-coco --port 9000
    """
    try:
        with quick_imports():
            from pisr_core.serving.run import serve as run_server
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'pisr[serve]'.") from None
    from pisr_core import load_model
    from pisr_core.serving.uploads import Limits

    name = fetched(network.checkpoint)
    predictor = load_model(name, network.device, network.precision, network.compiled, network.categories)
    limits = Limits(server.max_megabytes, server.max_megapixels, server.queue)

    def ready(url: str) -> None:
        say(f"model: {name} on {predictor.device}")
        say(f"open {url} in a browser; Ctrl-C stops")
        if server.host not in LOCAL:
            say("everyone who reaches this machine can send images: there is no password")
        if as_json:
            print_json({"url": url, "checkpoint": str(name), "device": str(predictor.device), **asdict(limits)})
            sys.stdout.flush()  # who reads it waits for it

    run_server(predictor, str(name), server.host, server.port, limits, ready)
