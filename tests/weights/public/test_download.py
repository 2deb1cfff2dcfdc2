import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pisr_core import presets
from pisr_core.errors import CheckpointError
from pisr_core.weights.public.download import download
from pisr_core.weights.public.sources import SOURCES, WeightsSource

CONTENT = bytes(range(256)) * 12_000
MD5 = hashlib.md5(CONTENT).hexdigest()


class FileServer(ThreadingHTTPServer):
    """Serves CONTENT at /w.pkl; can break off or know no ranges."""

    ranges = True
    breaks_after = len(CONTENT)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/w.pkl":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + self.server.breaks_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def source(server, digest=f"md5:{MD5[:6]}", path="w.pkl"):
    url = f"http://127.0.0.1:{server.server_port}/{path}"
    return WeightsSource(url, "", "coco-pdl-r50", digest, "", "")


def ignore(done, total):
    pass


def test_fetches_once_and_reports_progress(server, tmp_path):
    calls = []
    path = download(source(server), tmp_path / "new", lambda *call: calls.append(call))
    assert path == tmp_path / "new" / "w.pkl" and path.read_bytes() == CONTENT
    assert calls[0] == (0, len(CONTENT)) and calls[-1] == (len(CONTENT), len(CONTENT))
    assert calls == sorted(calls)
    assert download(source(server), tmp_path / "new", ignore) == path
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_continues_or_begins_anew(server, tmp_path, ranges):
    server.ranges, server.breaks_after = ranges, 1_000_000
    with pytest.raises(CheckpointError, match=r"w\.pkl cannot be fetched.*broke after 1000000 of 3072000 bytes"):
        download(source(server), tmp_path, ignore)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pkl.part"]
    server.breaks_after = len(CONTENT)
    assert download(source(server), tmp_path, ignore).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["w.pkl"]


def test_a_whole_part_needs_no_bytes(server, tmp_path):
    (tmp_path / "w.pkl.part").write_bytes(CONTENT)
    assert download(source(server), tmp_path, ignore).read_bytes() == CONTENT


@pytest.mark.parametrize("digest", ["md5:000000", "sha256:00000000"])
def test_wrong_bytes_never_get_the_final_name(server, tmp_path, digest):
    with pytest.raises(CheckpointError, match=r"w\.pkl\.part: its (md5|sha256) is .* begins with 0+"):
        download(source(server, digest), tmp_path, ignore)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_checked_but_kept(server, tmp_path):
    (tmp_path / "w.pkl").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="remove the file first"):
        download(source(server), tmp_path, ignore)
    assert (tmp_path / "w.pkl").read_bytes() == b"something else" and server.asked == []


def test_without_a_digest_it_says_so(server, tmp_path, caplog):
    download(source(server, digest=""), tmp_path, ignore)
    assert "its bytes were not checked" in caplog.text


def test_what_is_not_there(server, tmp_path):
    with pytest.raises(CheckpointError, match=r"http://127.*none\.pkl cannot be fetched.*404.*by other means"):
        download(source(server, path="none.pkl"), tmp_path, ignore)


def test_no_network(server, tmp_path):
    unreachable = source(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(CheckpointError, match=r"w\.pkl cannot be fetched.*by other means"):
        download(unreachable, tmp_path, ignore)
    assert not (tmp_path / "w.pkl").exists()


def test_the_table_says_where_each_file_is_from():
    for name, known in SOURCES.items():
        assert known.url.startswith("https://") and known.page.startswith("https://"), name
        assert known.licence and known.description, name
        beginning = known.digest.partition(":")[2]
        assert beginning in known.file_name, name
        assert known.preset in presets.names() or (known.hub and not known.preset), name
        if known.hub and known.preset:  # which starts from them: the same network, of the same data
            assert known.preset == "-".join([name.rpartition("-")[2], *name.split("-")[:-1]])
    assert len({known.url for known in SOURCES.values()}) == len(SOURCES)
