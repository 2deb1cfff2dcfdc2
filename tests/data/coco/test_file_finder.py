import tracemalloc

import pytest

from pisr_core.data.coco.file_finder import FileFinder


@pytest.fixture
def find(tmp_path):
    """Where a name among others leads, relative to the JSON's folder, when some files are there."""

    def look(name, files, others=()):
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        finder = FileFinder(tmp_path / "images", tmp_path / "mine.json", [name, *others])
        return finder.path(name).relative_to(tmp_path).as_posix()

    return look


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a/x.jpg", "images/a/x.jpg"),
        ("images/x.jpg", "images/x.jpg"),
        ("data/images/a/x.jpg", "images/a/x.jpg"),
        ("a\\x.jpg", "images/a/x.jpg"),
        ("x.jpg", "images/x.JPG"),
        ("IMG.jpg", "images/deep/img.jpg"),
        ("pictures/x.jpg", "pictures/x.jpg"),
    ],
)
def test_names_that_lead_somewhere(find, name, file):
    assert find(name, [file, "images/other.jpg"]) == file


def test_a_name_that_is_right_goes_before_all_others(find):
    assert find("x.jpg", ["images/x.jpg", "images/X.JPG", "x.jpg"]) == "images/x.jpg"


def test_the_longest_end_of_the_name_decides(find):
    assert find("train/b/1.jpg", ["images/a/1.jpg", "images/b/1.jpg"], ["train/a/1.jpg"]) == "images/b/1.jpg"


def test_a_name_that_is_too_long_leads_nowhere(find):
    assert find(10_000 * "x", ["images/x.jpg"]) == "images/" + 10_000 * "x"


@pytest.mark.parametrize(
    ("files", "others"),
    [(["images/a/x.jpg", "images/b/x.jpg"], []), (["images/x.jpg"], ["b/x.jpg"]), (["images/y.jpg"], [])],
)
def test_what_is_not_unique_is_not_found(find, files, others):
    assert find("c/x.jpg", files, others) == "images/c/x.jpg"


def test_what_is_kept_of_all_files_is_small(tmp_path):
    """A worker that meets one odd name keeps no object for each file."""
    names = [f"{number:05}_{'long' * 12}.jpg" for number in range(2000)]
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / name.upper()).touch()
    tracemalloc.start()
    try:
        fresh = FileFinder(tmp_path / "images", tmp_path / "mine.json", names)
        assert fresh.path(names[8]) == tmp_path / "images" / names[8].upper()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 400 * len(names)  # each name, of 57 bytes, is held twice for files and twice for the JSON
