import hashlib

import pytest
from file_server import serving

from pisr_core.errors import DownloadError
from pisr_core.runtime.download import PublicFile, download

CONTENT = bytes(range(256)) * 12_000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serving("w.pkl", CONTENT) as server:
        yield server


def source(server, digest=f"md5:{MD5[:6]}", path="w.pkl"):
    return PublicFile(server.url(path), digest, "give it to `pisr weights import`")


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
    with pytest.raises(DownloadError, match=r"w\.pkl cannot be fetched.*broke after 1000000 of 3072000 bytes"):
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
    with pytest.raises(DownloadError, match=r"w\.pkl\.part: its (md5|sha256) is .* begins with 0+"):
        download(source(server, digest), tmp_path, ignore)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_checked_but_kept(server, tmp_path):
    (tmp_path / "w.pkl").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="remove the file first"):
        download(source(server), tmp_path, ignore)
    assert (tmp_path / "w.pkl").read_bytes() == b"something else" and server.asked == []


def test_without_a_digest_it_says_so(server, tmp_path, caplog):
    download(source(server, digest=""), tmp_path, ignore)
    assert "its bytes were not checked" in caplog.text


def test_what_is_not_there(server, tmp_path):
    with pytest.raises(DownloadError, match=r"http://127.*none\.pkl cannot be fetched.*404.*by other means"):
        download(source(server, path="none.pkl"), tmp_path, ignore)


def test_no_network(server, tmp_path):
    unreachable = source(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r"w\.pkl cannot be fetched.*by other means"):
        download(unreachable, tmp_path, ignore)
    assert not (tmp_path / "w.pkl").exists()
