"""A server by HTTP alone: what it answers, what it refuses, and that nothing ends it."""

import base64
import io
import json
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core import Predictor
from pisr_core.data.coco.files import rgb_to_id
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.presets import load

run = pytest.importorskip("pisr_core.serving.run", reason="needs the extra [serve]")
uvicorn, Server, Limits = run.uvicorn, run.Server, run.Limits

LIMITS = Limits(megabytes=0.1, megapixels=0.02, queue=1, seconds=0.5)


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    config = load("scenes-pdl-r18", ["backbone.pretrained=false", "merge.stuff_area=0.0"])
    return Predictor(build_model(config, SCENE_CATEGORIES).eval(), torch.device("cpu"))


@contextmanager
def listening(server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = uvicorn.Server(uvicorn.Config(server.app(), log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        running.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def server(predictor):
    return Server(predictor, "runs/first/best.safetensors", LIMITS)


@pytest.fixture(scope="module")
def url(server):
    with listening(server) as address:
        yield address


def ask(url, data=None, **headers):
    """Status, body and headers."""
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def encoded(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
PHOTO = encoded(PIXELS)


def form(data, name="b.png"):
    head = f'--XX\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n--XX--\r\n"


FORM = "multipart/form-data; boundary=XX"


def test_the_page_and_what_it_reads(url):
    status, page, headers = ask(url)
    assert status == 200 and headers["content-type"].startswith("text/html") and b"Drop a photo" in page
    about = json.loads(ask(f"{url}/model")[1])
    assert about["checkpoint"] == "runs/first/best.safetensors" and about["relation"] == "pisr"
    assert about["limits"]["megapixels"] == 0.02 and about["waiting"] == 0
    assert [category["name"] for category in about["categories"]] == [category.name for category in SCENE_CATEGORIES]


def test_an_image_becomes_coco_and_png(url, predictor):
    expected = predictor.predict(PIXELS)
    status, body, _ = ask(f"{url}/predict?name=a.jpg&overlay=1", PHOTO)
    document = json.loads(body)
    assert status == 200 and document["images"] == [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}]
    assert document["annotations"][0]["file_name"] == "a.png"
    segments = expected.to_coco()["annotations"][0]["segments_info"]
    assert document["annotations"][0]["segments_info"] == segments and segments
    ids = rgb_to_id(np.array(Image.open(io.BytesIO(base64.b64decode(document["png"])))))
    np.testing.assert_array_equal(ids, expected.panoptic.ids)
    assert Image.open(io.BytesIO(base64.b64decode(document["overlay"]))).size == (64, 48)


def test_forms_and_pngs_alone(url, predictor):
    document = json.loads(ask(f"{url}/predict", form(PHOTO, "../../b.png"), Content_Type=FORM)[1])
    assert document["images"][0]["file_name"] == "b.png" and "overlay" not in document
    status, png, headers = ask(f"{url}/predict", PHOTO, Accept="image/png")
    assert status == 200 and headers["content-type"] == "image/png"
    np.testing.assert_array_equal(
        rgb_to_id(np.array(Image.open(io.BytesIO(png)))), predictor.predict(PIXELS).panoptic.ids
    )


def test_heatmaps_of_a_class(url):
    status, body, _ = ask(f"{url}/heatmap?class=car", PHOTO)
    heatmaps = json.loads(body)["heatmaps"]
    assert status == 200 and len(heatmaps) == 3
    assert [heatmap["caption"][:5] for heatmap in heatmaps] == ["befor", "F_sp ", "after"]
    assert Image.open(io.BytesIO(base64.b64decode(heatmaps[2]["picture"]))).size == (64, 48)


def bomb(side):
    """A PNG of a hundred bytes that says it has so many pixels on each side."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


WRONG = {
    "text": ("/predict", b"hello", {}, 415, "no image that can be read"),
    "nothing": ("/predict", b"", {}, 400, "nothing was sent"),
    "large": ("/predict", bytes(200_000), {}, 413, "0.1 MB at most"),
    "large form": ("/predict", form(bytes(200_000)), {"Content_Type": FORM}, 413, "0.1 MB at most"),
    "pixels": ("/predict", encoded(np.zeros((200, 200, 3), np.uint8)), {}, 413, "200×200 pixels: 0.02 megapixels"),
    "bomb": ("/predict", bomb(30_000), {}, 413, "0.02 megapixels at most"),
    "smaller bomb": ("/predict", bomb(5_000), {}, 413, "5000×5000 pixels"),
    "cut off": ("/predict", PHOTO[: len(PHOTO) // 2], {}, 422, "cannot be read"),
    "gif": ("/predict", encoded(PIXELS, "GIF"), {}, 415, "a GIF file"),
    "form without file": ("/predict", b"--XX--\r\n", {"Content_Type": FORM}, 400, "no file"),
    "form without boundary": ("/predict", b"nonsense", {"Content_Type": "multipart/form-data"}, 400, "boundary"),
    "class": ("/heatmap?class=unicorn", PHOTO, {}, 400, "no such class"),
    "heatmap of text": ("/heatmap?class=car", b"hello", {}, 415, "no image"),
    "method": ("/predict", None, {}, 405, "Method Not Allowed"),
    "address": ("/nowhere", None, {}, 404, "Not Found"),
}


@pytest.mark.parametrize(("path", "data", "headers", "status", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line_and_ends_nothing(url, path, data, headers, status, message):
    found, body, _ = ask(url + path, data, **headers)
    assert found == status and message in json.loads(body)["error"] and "\n" not in json.loads(body)["error"]
    assert ask(f"{url}/predict", PHOTO)[0] == 200
    assert json.loads(ask(f"{url}/model")[1])["waiting"] == 0


def test_an_upload_that_does_not_come_is_not_waited_for(url):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    assert ask(f"{url}/predict", PHOTO)[0] == 200


def test_more_than_the_queue_holds_is_sent_away(url, server, monkeypatch):
    go_on = threading.Event()
    real = server.answers.predict

    def slow(*arguments):
        go_on.wait(20)
        return real(*arguments)

    monkeypatch.setattr(server.answers, "predict", slow)
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(ask(f"{url}/predict", PHOTO)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    while json.loads(ask(f"{url}/model")[1])["waiting"] < 2:
        time.sleep(0.01)
    status, body, headers = ask(f"{url}/predict", PHOTO)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert status == 503 and headers["retry-after"] and "2 images wait" in json.loads(body)["error"]
    assert statuses == [200, 200]


def test_a_device_without_memory_is_told_of_and_a_bug_ends_nothing(url, server, monkeypatch):
    errors = [torch.OutOfMemoryError("CUDA out of memory"), ZeroDivisionError()]

    def failing(*arguments):
        raise errors.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(server.answers, "predict", failing)
        status, body, _ = ask(f"{url}/predict", PHOTO)
        assert status == 500 and "memory" in json.loads(body)["error"]
        status, body, _ = ask(f"{url}/predict", PHOTO)
        assert status == 500 and "log says why" in json.loads(body)["error"]
    assert ask(f"{url}/predict", PHOTO)[0] == 200


def test_it_listens_where_it_says(predictor, monkeypatch):
    said = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: said.append(sockets[0].getsockname()))
    run.serve(predictor, "model", "127.0.0.1", 0, LIMITS, said.append)
    assert said[0] == "http://{}:{}".format(*said[1])
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="--port"):
        run.serve(predictor, "model", "127.0.0.1", taken.getsockname()[1], LIMITS, said.append)


def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch, capfd):
    from pisr_cli.app import main

    for name in [name for name in sys.modules if name.startswith(("starlette", "pisr_core.serving"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(SystemExit) as exit_:
        main(["serve", "--checkpoint", "none.safetensors"])
    assert exit_.value.code == 2 and "pip install 'pisr[serve]'" in capfd.readouterr().err.replace("\n", " ")
