import pickle

import pytest

from pisr_core.data.columns import IdColumn, TextColumn


def test_texts_come_back_as_they_went_in():
    texts = ["a.png", "", "größe/東京.jpg", "\udc80 no text", "a.png"]
    column = TextColumn(texts)
    assert list(column) == texts and len(column) == 5
    assert column[-1] == "a.png" and column[1:3] == texts[1:3]
    assert list(pickle.loads(pickle.dumps(column))) == texts
    with pytest.raises(IndexError):
        column[5]


@pytest.mark.parametrize("ids", [[7, -3, 2**62, 0], ["b", "a", "ü"], ["5", 5, "a", -1], []])
def test_ids_are_found_where_they_stand(ids):
    column = IdColumn(ids)
    assert list(column) == ids and [type(value) for value in column] == [type(value) for value in ids]
    assert [column.find(value) for value in ids] == list(range(len(ids)))
    assert [column.find(value) for value in (4, "c", 2**70, None, ("a",))] == [None] * 5


def test_a_text_of_digits_is_no_integer():
    assert IdColumn([5]).find("5") is None and IdColumn(["5"]).find(5) is None
