import numpy as np
import pytest
from PIL import Image

from pisr_core.errors import ConfigError
from pisr_core.results.table import ResultsTable
from pisr_core.studies.study_report import forest_rows, gain_rows, score_rows, study_report, summary_table, write_report

COLUMNS = ("variant", "seed", "steps", "pq", "pq_things", "pq_stuff", "sq", "rq", "miou", "pq dog", "pq sky")


@pytest.fixture
def table():
    scores = {"ocr": (1.0, 3.0, 2.0), "pisr": (3.0, 4.0, 5.0)}
    table = ResultsTable(COLUMNS)
    for name, values in scores.items():
        for seed, pq in enumerate(values):
            row = {"variant": name, "seed": seed, "steps": 9, "pq": pq, "pq_things": pq + 1, "miou": 50.0}
            table.add({**row, "pq dog": pq if seed else None})
    table.add({"variant": "none", "seed": 2, "steps": 9, "pq": 1.5})
    return table


def test_gains_by_hand(table):
    report = study_report(table, "pisr", ["dog"])
    ocr, pisr, none = report.variants
    assert (ocr.scores["pq"].mean, ocr.scores["pq"].std, ocr.scores["pq dog"].n) == (2.0, 1.0, 2)
    gain = ocr.gain["pq"]
    assert (gain.n, gain.difference) == (3, 2.0) and gain.p == pytest.approx(0.0742, abs=1e-4)
    assert ocr.gain["pq dog"].n == 2 and ocr.gain["pq_stuff"].n == 0 and ocr.gain["miou"].difference == 0.0
    assert pisr.gain == {}
    assert (none.gain["pq"].n, none.gain["pq"].difference, none.gain["pq"].p) == (1, 3.5, None)
    assert "3 seeds (2 degrees of freedom)" in report.caution
    assert study_report(ResultsTable(COLUMNS, table.rows[-1:]), "none").caution.startswith("One seed")


def test_p_is_corrected_over_the_variants(table):
    for seed, pq in enumerate((2.0, 4.4, 3.0)):
        table.add({"variant": "heads", "seed": seed, "steps": 9, "pq": pq})
    ocr, _, none, heads = study_report(table, "pisr").variants
    first, second = ocr.gain["pq"].p, heads.gain["pq"].p
    assert first < second  # the smaller one is doubled, the larger one is not below it
    assert ocr.corrected["pq"] == pytest.approx(2 * first)
    assert heads.corrected["pq"] == pytest.approx(max(2 * first, second))
    assert none.corrected == {}


def test_the_forest_by_hand(table):
    ocr, none = forest_rows(study_report(table, "pisr"))
    assert (ocr.name, ocr.value, ocr.points, ocr.note) == ("ocr", 2.0, [2.0, 1.0, 3.0], "0.074")
    assert (none.value, none.low, none.points, none.note) == (3.5, None, [3.5], "–")


def test_rows_for_people(table):
    report = study_report(table, "pisr", ["dog"])
    assert score_rows(report) == [
        ("ocr", "3", "2.0±1.0", "3.0±1.0", "–", "50.0±0.0", "2.5±0.7"),
        ("pisr", "3", "4.0±1.0", "5.0±1.0", "–", "50.0±0.0", "4.5±0.7"),
        ("none", "1", "1.5", "–", "–", "–", "–"),
    ]
    assert gain_rows(report) == [
        ("ocr", "+2.0", "-0.5 to +4.5", "0.074", "0.074", "+2.0", "–", "+0.0", "+2.0"),
        ("none", "+3.5", "–", "–", "–", "–", "–", "–", "–"),
    ]


def test_the_summary_has_a_row_for_each_variant_and_metric(table):
    summary = summary_table(study_report(table, "pisr"))
    assert len(summary.rows) == 3 * 4
    assert summary.find(variant="pisr", metric="pq")["gain"] is None
    row = summary.find(variant="ocr", metric="pq_things")
    assert (row["n"], row["mean"], row["pairs"], row["gain"]) == (3, 3.0, 3, 2.0)


def test_unknown_names_list_the_choices(table):
    with pytest.raises(ConfigError, match="ocr, pisr, none"):
        study_report(table, "concat")
    with pytest.raises(ConfigError, match="dog, sky"):
        study_report(table, "pisr", ["cat"])


def test_files(table, tmp_path):
    report = study_report(table, "pisr")
    write_report(report, tmp_path, "A study")
    page = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert "2.0±1.0" in page and "-0.5 to +4.5" in page and report.caution in page
    assert ResultsTable.read_csv(tmp_path / "summary.csv").find(variant="ocr", metric="pq")["gain"] == 2.0
    assert np.asarray(Image.open(tmp_path / "study.png")).std() > 5
    assert np.asarray(Image.open(tmp_path / "forest.png")).std() > 5
    assert report.to_json()["variants"][0]["gain"]["pq"]["difference"] == 2.0
