import pytest

from pisr_core import presets
from pisr_core.errors import ConfigError
from pisr_core.paper import TABLES, load_table

# Number of rows, and the sum of the first column, taken from the printed tables.
PRINTED = {1: (19, 1164.6), 2: (27, 1207.8), 3: (7, 237.8), 4: (6, 288.9), 5: (6, 365.6)}


@pytest.mark.parametrize("number", TABLES)
def test_tables_are_complete_and_their_columns_known(number):
    table = load_table(number)
    rows, total = PRINTED[number]
    assert len(table.rows) == rows
    assert sum(row.printed.scores[table.columns[0]] for row in table.rows) == pytest.approx(total)
    assert all(set(row.printed.scores) <= set(table.columns) for row in table.rows)
    assert all(row.printed.table == number and row.printed.row and row.printed.split for row in table.rows)


def test_every_row_of_every_preset_stands_in_its_table():
    in_presets = {(name, row.table, row.split) for name in presets.names() for row in presets.load(name).paper}
    in_tables = {
        (row.preset, number, row.printed.split) for number in TABLES for row in load_table(number).rows if row.preset
    }
    assert in_presets == in_tables


def test_the_paper_contradicts_itself_by_table():
    scores = {row.table: row.scores["PQ"] for row in presets.load("cityscapes-pdl-r50-baseline").paper}
    assert scores == {1: 59.9, 4: 59.7, 5: 59.9}


def test_ours_are_those_with_a_relation():
    ours = [row.printed.row for row in load_table(2).rows if row.ours]
    assert ours == [
        "Panoptic-FPN + PISR",
        "Panoptic-DL + OCR",
        "Panoptic-DL + PISR",
        "Panoptic-DL + PISR",
        "UPerNet + PISR",
        "UPerNet + PISR",
    ]


def test_unknown_table_is_a_users_mistake():
    with pytest.raises(ConfigError, match="table 9: the paper's tables of results are 1, 2, 3, 4, 5"):
        load_table(9)
