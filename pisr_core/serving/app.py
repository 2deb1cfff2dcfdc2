"""The HTTP of a server: its addresses, its queue, and its words for what is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from pisr_core.api.predictor import Predictor
from pisr_core.data.coco.documents import category_entries
from pisr_core.errors import DeviceError, PisrError
from pisr_core.runtime.devices.device import device_error
from pisr_core.serving.answers import Answerer
from pisr_core.serving.uploads import TYPES, Limits, Refusal

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page.html")

LONGEST_NAME = 200
"""Of an image, letters."""

Answer = TypeVar("Answer")


class Server:
    """The addresses of a model. One image is predicted at a time; a bounded number waits.

    Args:
        predictor: the model.
        name: of its checkpoint, to show.
        limits: what is taken.
    """

    def __init__(self, predictor: Predictor, name: str, limits: Limits) -> None:
        self.answers = Answerer(predictor, limits)
        self.limits = limits
        self.name = name
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")

    def app(self) -> Starlette:
        """For any ASGI server."""
        routes = [
            Route("/", self.page),
            Route("/model", self.model),
            Route("/predict", self.predict, methods=["POST"]),
            Route("/heatmap", self.heatmap, methods=["POST"]),
        ]
        handlers: Mapping[Any, Any] = {PisrError: _refused, HTTPException: _unknown, Exception: _failed}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def page(self, request: Request) -> Response:
        """`GET /`: the page for people."""
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    async def model(self, request: Request) -> Response:
        """`GET /model`: what predicts, its classes, and what is taken."""
        predictor = self.answers.predictor
        return JSONResponse(
            {
                "pisr": version("pisr"),
                "checkpoint": self.name,
                "architecture": predictor.config.architecture,
                "relation": predictor.config.relation.name,
                "device": str(predictor.device),
                "limits": {**asdict(self.limits), "types": list(TYPES)},
                "waiting": self._waiting,
                "categories": category_entries(predictor.categories),
            }
        )

    async def predict(self, request: Request) -> Response:
        """`POST /predict`: COCO's panoptic JSON; with `Accept: image/png` the PNG of segment ids alone."""
        only_png = request.headers.get("accept", "").startswith("image/png")
        overlay = request.query_params.get("overlay") == "1"
        with self._place():
            name, data = await self._upload(request)
            if only_png:
                png = await self._answer(lambda: self.answers.segment_ids(data))
                return Response(png, media_type="image/png")
            return JSONResponse(await self._answer(lambda: self.answers.predict(data, name, overlay)))

    async def heatmap(self, request: Request) -> Response:
        """`POST /heatmap?class=NAME`: what the model sees of a class, as pictures."""
        class_name = request.query_params.get("class", "")
        with self._place():
            _, data = await self._upload(request)
            return JSONResponse(await self._answer(lambda: self.answers.heatmaps(data, class_name)))

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place in the queue, taken before the upload is read, so that waiting ones bound the memory."""
        if self._waiting > self.limits.queue:
            raise Refusal(503, f"{self._waiting} images wait already: try again in some seconds.")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _answer(self, work: Callable[[], Answer]) -> Answer:
        """What `work` gives, in the thread of the network."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (RuntimeError, MemoryError) as error:
            fault = device_error(error, "Send a smaller image.")
            if fault is None:
                raise
            raise fault from error

    async def _upload(self, request: Request) -> tuple[str, bytes]:
        """Name and bytes of the image that is sent, as the body or as the first file of a form."""
        limited = Request(request.scope, _counted(request.receive, self.limits.megabytes))
        try:
            async with asyncio.timeout(self.limits.seconds):
                if request.headers.get("content-type", "").startswith("multipart/form-data"):
                    return await _first_file(limited)
                return _shown_name(request.query_params.get("name")), await limited.body()
        except TimeoutError:
            raise Refusal(408, f"the image did not arrive within {self.limits.seconds:g} s.") from None
        except ClientDisconnect:
            raise Refusal(400, "the upload was broken off.") from None


def _counted(receive: Receive, megabytes: float) -> Receive:
    """The same messages, until their bodies are too large together."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > megabytes * 1e6:
            raise Refusal(413, f"the file is too large: {megabytes:g} MB at most.")
        return message

    return counted


async def _first_file(request: Request) -> tuple[str, bytes]:
    try:
        async with request.form(max_files=1, max_fields=10) as form:
            for value in form.values():
                if isinstance(value, UploadFile):
                    return _shown_name(value.filename), await value.read()
    except FormParserError as error:
        raise Refusal(400, f"the form has no file that can be read ({error}).") from error
    raise Refusal(400, "the form has no file.")


def _shown_name(name: str | None) -> str:
    """A file's name without folders, for results."""
    return Path((name or "").replace("\\", "/")).name[:LONGEST_NAME] or "image.png"


async def _refused(request: Request, error: Exception) -> Response:
    """What the user can mend, in one line."""
    status = error.status if isinstance(error, Refusal) else 500 if isinstance(error, DeviceError) else 422
    if status == 500:
        log.warning("%s", error)
    headers = {"Retry-After": "2"} if status == 503 else None
    return JSONResponse({"error": str(error)}, status, headers)


async def _failed(request: Request, error: Exception) -> Response:
    """A bug, whose traceback goes to the log."""
    return JSONResponse({"error": "the server failed on this image: its log says why."}, 500)


async def _unknown(request: Request, error: Exception) -> Response:
    """An address or a method that is not served, or a form that cannot be read."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
