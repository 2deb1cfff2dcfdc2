import io
import tarfile
import zipfile

import pytest

from pisr_core.data.prepare.archives import unpack
from pisr_core.errors import DataError

FILES = {"set/a/1.txt": b"one", "set/2.txt": b"two", "README": b"not wanted"}


@pytest.fixture(params=["zip", "tar", "tar.gz"])
def archive(request, tmp_path):
    path = tmp_path / f"set.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.mkdir("set")
            for name, content in FILES.items():
                zipped.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if request.param.endswith("gz") else "w") as tarred:
            for name, content in FILES.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tarred.addfile(info, io.BytesIO(content))
    return path


def test_unpacks_what_is_below_the_prefix(archive, tmp_path):
    calls = []
    out = tmp_path / "out"
    assert unpack(archive, out, "set/", lambda done, total: calls.append((done, total))) == 2
    assert (out / "a/1.txt").read_bytes() == b"one" and (out / "2.txt").read_bytes() == b"two"
    assert calls == [(1, 2), (2, 2)] and not (out / "README").exists()


def test_half_a_file_is_replaced_and_the_rest_kept(archive, tmp_path):
    out = tmp_path / "out"
    unpack(archive, out)
    (out / "set/2.txt").write_bytes(b"t")
    (out / "set/a/1.txt").write_bytes(b"own")
    assert unpack(archive, out) == 1
    assert (out / "set/2.txt").read_bytes() == b"two" and (out / "set/a/1.txt").read_bytes() == b"own"


def test_paths_that_leave_the_folder_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as zipped:
        zipped.writestr("../evil.txt", "x")
    with pytest.raises(DataError, match="leaves the folder"):
        unpack(tmp_path / "bad.zip", tmp_path / "out")
    assert not (tmp_path / "evil.txt").exists()


def test_cut_off_archives_are_named(archive, tmp_path):
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(DataError, match=f"{archive.name}: is broken or no archive .*Download it again"):
        unpack(archive, tmp_path / "out")
