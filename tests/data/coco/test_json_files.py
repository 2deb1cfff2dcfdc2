import json
import math
import pickle

import pytest

from pisr_core.data.coco.json_files import JsonList, load_json, load_json_lines, load_json_lists
from pisr_core.errors import DataError

CONTENT = {
    "info": {"year": 2017},
    "images": [{"id": 1}, 2.5, "ü", None, [1]],
    "annotations": [],
    "licenses": [{"id": 3}],
}


def plain(content):
    """With lists in place of `JsonList`s."""
    if not isinstance(content, dict):
        return content
    return {name: list(value) if isinstance(value, JsonList) else value for name, value in content.items()}


def test_lists_are_decoded_entry_by_entry(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT))
    content = load_json_lists(path)
    assert isinstance(content["images"], JsonList) and isinstance(content["annotations"], JsonList)
    assert plain(content) == CONTENT
    assert list(content["images"][1:3]) == [2.5, "ü"]
    assert content["images"][0] is not content["images"][0]  # nothing is kept


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "3",
        '{"images": [NaN]}',
        '{"images": [1e400, {"x": 1e400}]}',
        '{"images": ["\\ud800"]}',
        '{"images": [1], "images": [2]}',
    ],
)
def test_what_json_knows_is_read_alike(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    content = load_json_lists(path)
    assert repr(plain(content)) == repr(load_json(path))


def test_odd_numbers_are_given_to_the_caller(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [NaN, -Infinity]}')
    seen = []
    load_json_lists(path, lambda name: seen.append(name) or math.nan)
    assert seen == ["NaN", "-Infinity"]


def test_a_byte_order_mark_is_no_part_of_the_lists(tmp_path):
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(CONTENT), encoding="utf-8")
    assert load_json_lists(tmp_path / "a.json")["images"][0] == {"id": 1}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"a": [1,]}', b'{"a": ["\xff"]}', b'{"a": [{"unread": "\xff"}]}', b'{"a": [1]} x', b"[" * 10**5],
)
def test_what_is_no_json_is_refused(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DataError, match="a.json: is not valid JSON"):
        load_json_lists(tmp_path / "a.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="a.json: no such file"):
        load_json_lists(tmp_path / "a.json")


def test_a_list_is_sent_to_another_process_without_its_entries(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [{"id": i, "name": "x" * 1000} for i in range(50)]}))
    sent = pickle.dumps(load_json_lists(path)["images"])
    assert len(sent) < 3000 and pickle.loads(sent)[49] == {"id": 49, "name": "x" * 1000}


def test_lines_that_are_no_json_are_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\n{"a": 1}\n"\xff"\n[2, "\xc3\xbc"]\n' + b"[" * 10**5 + b'\n{"a": "cut')
    assert list(load_json_lines(path)) == [{"a": 1}, [2, "ü"]]
