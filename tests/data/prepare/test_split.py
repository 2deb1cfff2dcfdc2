"""Preparing in parallel and again, on Cityscapes' files."""

import json

import pytest

from pisr_core.data.prepare.datasets import prepare_dataset
from pisr_core.data.prepare.record import SplitRecord
from pisr_core.errors import DataError
from pisr_core.runtime.processes.parallel import parallel_map


def files(root):
    """Every prepared file's content by name."""
    gt = root / "cityscapes/gtFine"
    return {path.name: path.read_bytes() for pattern in ("*.json", "*/*_panoptic.png") for path in gt.glob(pattern)}


def test_parallel_is_serial(cityscapes_raw):
    prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    serial = files(cityscapes_raw)
    assert len(serial) == 7
    for path in (cityscapes_raw / "cityscapes/gtFine").rglob("*"):
        if path.name in serial:
            path.unlink()
    reports = prepare_dataset("cityscapes", cityscapes_raw, workers=2)
    assert files(cityscapes_raw) == serial and sum(report.made for report in reports.values()) == 5


def test_only_what_is_missing_is_made(cityscapes_raw):
    prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    whole = files(cityscapes_raw)
    folder = cityscapes_raw / "cityscapes/gtFine/cityscapes_panoptic_train"
    (folder / "ulm_000001_000019_gtFine_panoptic.png").unlink()
    kept = folder / "ulm_000000_000019_gtFine_panoptic.png"
    kept.write_bytes(b"not touched")
    reports = prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    assert [report.made for report in reports.values()] == [1, 0]
    assert kept.read_bytes() == b"not touched"
    assert files(cityscapes_raw) == whole | {kept.name: b"not touched"}


class Interrupted(BaseException):
    """Stands for Ctrl-C or the end of the process."""


@pytest.mark.parametrize("cut", [0, 40])
def test_an_interrupted_run_goes_on(cityscapes_raw, cut):
    """The last line of the record may be cut off: that image is made again."""
    prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    whole = files(cityscapes_raw)
    gt = cityscapes_raw / "cityscapes/gtFine"
    for path in gt.rglob("*"):
        if path.name in whole:
            path.unlink()

    class Bar:
        def __init__(self, name, of_bytes):
            pass

        def __enter__(self):
            return self.stop_at_two

        def __exit__(self, *_):
            pass

        def stop_at_two(self, done, total):
            if done == 2:
                raise Interrupted

    with pytest.raises(Interrupted):
        prepare_dataset("cityscapes", cityscapes_raw, workers=1, bar=Bar)
    lines = gt / "cityscapes_panoptic_train.partial.jsonl"
    assert len(list((gt / "cityscapes_panoptic_train").iterdir())) == 2 and not list(gt.glob("*.json"))
    lines.write_bytes(lines.read_bytes()[: len(lines.read_bytes()) - cut])
    reports = prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    assert reports["train"].made == (1 if cut == 0 else 2)
    assert files(cityscapes_raw) == whole and not lines.exists()


def test_other_settings_are_not_mixed(tmp_path):
    path = tmp_path / "p.json"
    entry = {"image": {"id": 1}, "annotation": {"image_id": 1}}
    SplitRecord(path, {"overlap": "a"}).append(entry)
    assert SplitRecord(path, {"overlap": "a"}).read() == {1: entry}
    with pytest.raises(DataError, match="partial.jsonl: was made with other settings: .*'a'.*'b'"):
        SplitRecord(path, {"overlap": "b"}).read()
    SplitRecord(path, {"overlap": "a"}).write_json({1: entry}, [1], ())
    with pytest.raises(DataError, match="p.json: was made with other settings"):
        SplitRecord(path).read()
    assert json.loads(path.read_text())["info"] == {"settings": {"overlap": "a"}}


def test_entries_of_finished_images_stay_in_their_files(tmp_path):
    """Those of the JSON, and those that were made again since, which count."""
    record = SplitRecord(tmp_path / "p.json")
    old = {i: {"image": {"id": i}, "annotation": {"image_id": i, "segments_info": [i]}} for i in (1, 2)}
    record.write_json(old, [2, 1], ())
    new = {i: {"image": {"id": i}, "annotation": {"image_id": i, "segments_info": []}} for i in (2, 3)}
    for entry in new.values():
        record.append(entry)
    finished = record.read()
    assert finished == {1: old[1]} | new and len(finished) == 3 and 4 not in finished
    assert finished[1] is not finished[1]
    record.write_json(finished, [3, 1, 2], ())
    content = json.loads((tmp_path / "p.json").read_text())
    assert [image["id"] for image in content["images"]] == [3, 1, 2]
    assert [entry["segments_info"] for entry in content["annotations"]] == [[], [1], []]
    assert not record.lines_path.exists()


@pytest.mark.parametrize("content", ["[]", '{"images": 3}', '{"images": [], "annotations": [{"image_id": 2}]}'])
def test_another_file_of_that_name_is_left_alone(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(DataError, match="p.json: what lies there is no panoptic JSON"):
        SplitRecord(path).read()
    assert path.read_text() == content


def test_results_come_in_the_order_of_the_items():
    assert list(parallel_map(abs, [-3, 1, -2], workers=2)) == [3, 1, 2]
    assert list(parallel_map(abs, [], workers=2)) == []
