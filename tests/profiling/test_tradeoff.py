import pytest

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError, DataError
from pisr_core.profiling import tradeoff
from pisr_core.profiling.cost import config_operations
from pisr_core.profiling.tradeoff import draw_tradeoff, printed_results, read_results
from pisr_core.studies.study import Study, Variant, run_name

CSV = """preset,settings,pq,seed
scenes-pdl-r18-baseline,,60,0
scenes-pdl-r18,relation.channels=64,63,0
scenes-pdl-r18,relation.channels=64,65.5,1
scenes-pdl-r18,relation.channels=32; relation.top_k=10,62,0
scenes-pdl-r18-ocr,,61,0
scenes-pdl-r18-noreweight,,61.5,0
"""


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(CSV)
    return path


def test_rows_of_equal_models_are_runs_of_one(results):
    found = [(each.config.name, each.config.relation.channels, each.pq) for each in read_results(results)]
    assert found[0] == ("scenes-pdl-r18-baseline", found[0][1], (60.0,))
    assert found[1] == ("scenes-pdl-r18", 64, (63.0, 65.5))
    assert found[2] == ("scenes-pdl-r18", 32, (62.0,))
    assert read_results(results)[2].config.relation.top_k == 10
    assert len(found) == 5


def test_a_study_names_its_configs(tmp_path):
    (tmp_path / "study.csv").write_text("variant,seed,pq\nwide,0,60\nnone,0,58\nwide,1,62\n")
    study = Study("scenes-pdl-r18", (Variant("none", ("relation.name=none",)),), (0,), tmp_path)
    configs = {
        "none-seed0": study.runs()[0].config,
        "wide-seed0": presets.load("scenes-pdl-r18", ["relation.channels=99"]),
    }
    (tmp_path / "configs").mkdir()
    for name, config in configs.items():
        (tmp_path / "configs" / f"{name}.toml").write_text(presets.to_toml(config))
    wide, none = read_results(tmp_path / "study.csv")
    assert (wide.config.relation.channels, wide.pq) == (99, (60.0, 62.0))
    assert (none.config.relation.name, none.pq) == ("none", (58.0,))
    assert run_name("wide", 0) == "wide-seed0"


def test_the_plot_has_a_line_over_the_width_with_mean_and_deviation(results, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(tradeoff, "draw_plot", lambda path, series, *_: drawn.update({s.name: s for s in series}))
    draw_tradeoff(tmp_path / "plot.png", read_results(results))
    assert set(drawn) == {
        "backbones",
        "PISR, resnet18",
        "OCR, resnet18",
        "PISR without reweighting, resnet18",
    }
    line = drawn["PISR, resnet18"]
    assert line.labels == ("d = 32", "d = 64") and line.y == (62.0, 64.25)
    assert line.spread == (0.0, pytest.approx(2.5 / 2**0.5))
    first = read_results(results)[1].config
    assert line.x[0] < line.x[1] == config_operations(first, SCENE_CATEGORIES, fused=False).all.total / 1e9
    assert drawn["backbones"].labels == ("resnet18",) and not drawn["backbones"].joined


def test_a_picture_is_written(results, tmp_path):
    path = tmp_path / "plot.svg"
    draw_tradeoff(path, read_results(results)[:2], size=(64, 64))
    assert b"<svg" in path.read_bytes()


def test_printed_numbers_are_those_of_table_4_where_there_are():
    printed = {each.config.name: each.pq for each in printed_results()}
    assert printed["cityscapes-pdl-r50-baseline"] == (59.7,)  # Tables 1 and 5 print 59.9
    assert printed["cityscapes-pdl-r50-noreweight"] == (61.8,)
    assert printed["cityscapes-pdl-hr48-baseline"] == (63.4,)
    assert len(printed) == len(tradeoff.FIGURE_8)
    assert printed_results(["scenes-pdl-r18"]) == []


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("model,pq\npisr,60\n", DataError, "preset and pq"),
        ("preset,pq\nscenes-pdl-r18,good\n", DataError, "line 2"),
        ("preset,pq\nscenes-pdl-r18,\n", DataError, "line 2"),
        ("preset,pq\nscenes-pdl-r19,60\n", ConfigError, "scenes-pdl-r18"),
        ("preset,settings,pq\nscenes-pdl-r18,relation.width=3,60\n", ConfigError, "relation.width"),
    ],
)
def test_broken_results(tmp_path, content, error, message):
    path = tmp_path / "results.csv"
    path.write_text(content)
    with pytest.raises(error, match=message):
        read_results(path)
