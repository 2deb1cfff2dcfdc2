import numpy as np
import pytest
from PIL import Image

from pisr_core.errors import DataError
from pisr_core.results.page import Page
from pisr_core.results.plot import Series, draw_plot
from pisr_core.results.table import ResultsTable


def test_a_table_comes_back_from_its_file(tmp_path):
    table = ResultsTable(("name", "k", "pq", "reweight", "note"))
    table.add({"name": "pisr, full", "k": 10, "pq": 51.25, "reweight": True})
    table.add({"name": "ocr", "k": 0, "pq": 0.0, "reweight": False, "note": 'a "quote"'})
    table.write_csv(tmp_path / "t.csv")
    read = ResultsTable.read_csv(tmp_path / "t.csv")
    assert read == table
    assert read.find(name="ocr", k=0)["note"] == 'a "quote"'
    assert read.find(name="ocr", k=1) is None


def test_a_table_refuses_strange_columns():
    with pytest.raises(ValueError, match="speed"):
        ResultsTable(("name",)).add({"speed": 1})


@pytest.mark.parametrize("content", [b"a,b\n1,2,3\n", b"\xff\xfe\x00", None])
def test_a_broken_table_is_named(tmp_path, content):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="t.csv"):
        ResultsTable.read_csv(path)


def test_a_plot_has_a_colour_for_each_series(tmp_path):
    draw_plot(
        tmp_path / "p.png",
        [
            Series("one", [1.0, 2.0], [3.0, 4.0], spread=[0.1, 0.2]),
            Series("two", [1.0, 2.0], [4.0, 3.0], labels=["a", "b"]),
        ],
        "PQ over K",
        "K",
        "PQ",
    )
    colours = {tuple(c) for c in np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3)}
    assert {(0x0B, 0x6E, 0x99), (0xD9, 0x73, 0x0D)} <= colours


def test_a_long_title_ends_within_the_picture(tmp_path):
    title = "PQ over the number of instances, " * 4
    draw_plot(tmp_path / "p.png", [Series("one", [1.0, 2.0], [3.0, 4.0])], title, "K", "PQ")
    pixels = np.asarray(Image.open(tmp_path / "p.png").convert("L"))
    top = pixels[: len(pixels) // 8]
    assert (top < 100).any() and (top[:, -5:] > 250).all()


def test_a_page_escapes_text_and_holds_its_pictures(tmp_path):
    page = Page("a < b")
    page.heading("Scores")
    page.table(("class", "PQ", "images"), [("<script>", 50.26, 3), ("road", None, 4)])
    page.picture(np.full((4, 6, 3), 200, np.uint8), "grey & small")
    page.write(tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "<td>50.3</td><td>3</td>" in text and "<td>–</td>" in text
    assert text.count('src="data:image/jpeg;base64,') == 1 and "grey &amp; small" in text


def test_a_page_suits_phones_and_links_to_pictures_of_their_own(tmp_path):
    page = Page("many")
    page.table(("class", "PQ"), [("road", 1.0)])
    page.picture_link("a b/x%.png", "one")
    page.write(tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "prefers-color-scheme: dark" in text and '<div class="table"><table>' in text
    assert '<img src="a%20b/x%25.png" alt="one" loading="lazy">' in text and "base64" not in text


def test_a_column_of_numbers_holds_nothing_else(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("name,pq\na,1.5\nb,\n")
    assert [row["pq"] for row in ResultsTable.read_csv(path, numbers=("pq", "absent")).rows] == [1.5, None]
    for cell in ("high", "nan", "inf", "1e301"):
        path.write_text(f"name,pq\na,1.5\nb,{cell}\n")
        with pytest.raises(DataError, match=r"r\.csv, line 3: pq is no number"):
            ResultsTable.read_csv(path, numbers=("pq",))
