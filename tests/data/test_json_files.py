import json
import math

import pytest

from pisr_core.data.json_files import JsonList, load_json, load_json_lists
from pisr_core.errors import DataError

CONTENT = {"info": {"year": 2017}, "images": [{"id": 1}, 2.5, "ü", None, [1]], "none": [], "text": "x"}


def test_lists_are_decoded_entry_by_entry(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT))
    content = load_json_lists(path)
    assert isinstance(content["images"], JsonList) and isinstance(content["none"], JsonList)
    assert {name: list(v) if isinstance(v, JsonList) else v for name, v in content.items()} == CONTENT
    assert list(content["images"][1:3]) == [2.5, "ü"]
    assert content["images"][0] is not content["images"][0]  # nothing is kept


@pytest.mark.parametrize(
    "text", ["[1, 2]", "3", '{"a": [NaN]}', '{"a": [1e400]}', '{"a": ["\\ud800"]}', '{"a": [1], "a": [2]}']
)
def test_what_json_knows_is_read_alike(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    content = load_json_lists(path)
    plain = {name: list(v) for name, v in content.items()} if isinstance(content, dict) else content
    assert repr(plain) == repr(load_json(path))


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
