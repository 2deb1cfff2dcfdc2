import io
import shutil
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


def test_a_path_may_not_become_absolute_behind_the_prefix(tmp_path):
    target = tmp_path / "evil.txt"
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as zipped:
        zipped.writestr(f"set/{target}", "x")
    with pytest.raises(DataError, match="leaves the folder"):
        unpack(tmp_path / "bad.zip", tmp_path / "out", "set/")
    assert not target.exists()


def test_files_that_cannot_fit_on_the_disk_are_not_begun(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a.txt", b"x")
    content = path.read_bytes()
    place = content.index(b"PK\1\2") + 24  # the size in the central directory
    path.write_bytes(content[:place] + b"\xfe\xff\xff\xff" + content[place + 4 :])
    with zipfile.ZipFile(path) as zipped:
        (info,) = zipped.infolist()
    claimed = info.file_size
    usage = shutil.disk_usage(tmp_path)
    small = type(usage)(claimed // 2, 0, claimed // 2)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError, match="bomb.zip: its files need 4.3 GB"):
        patch.setattr(shutil, "disk_usage", lambda path: small)
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sparse_files_are_left_out(tmp_path):
    """Such a member of a few bytes would be written as a terabyte of zeros."""
    member = tarfile.TarInfo("a.bin")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(10**12)}
    content = b"1\n0\n1\n".ljust(512, b"\0") + b"x".ljust(512, b"\0")
    member.size = len(content)
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tarred:
        tarred.addfile(member, io.BytesIO(content))
    assert unpack(tmp_path / "a.tar", tmp_path / "out") == 0
