"""A server that listens until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from pisr_core.api.predictor import Predictor
from pisr_core.errors import ConfigError
from pisr_core.serving.app import Server
from pisr_core.serving.uploads import Limits


def serve(
    predictor: Predictor,
    name: str,
    host: str,
    port: int,
    limits: Limits,
    ready: Callable[[str], None],
) -> None:
    """Listens until SIGINT or SIGTERM; requests that are being answered are answered first.

    Args:
        predictor: the model.
        name: of its checkpoint, to show.
        host: where to listen: `127.0.0.1` for this machine alone, `0.0.0.0` for all that reach it.
        port: of it, 0 for any that is free.
        limits: what is taken.
        ready: called with the address when uploads can come.

    Raises:
        ConfigError: the address cannot be listened on.
        KeyboardInterrupt: SIGINT.
    """
    with _listening(host, port) as listener:
        server = Server(predictor, name, limits)
        server.answers.warm_up()
        ready(f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
        config = uvicorn.Config(server.app(), log_config=None, access_log=False, timeout_graceful_shutdown=30)
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{host}:{port}: cannot be listened on ({error}). Choose another --host or --port.") from None
