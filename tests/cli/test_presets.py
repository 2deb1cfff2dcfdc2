import json

import pytest

from pisr_cli.app import main


@pytest.fixture
def pisr(capsys):
    """Runs a command and gives its (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        captured = capsys.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run


def test_table_as_json(pisr):
    code, out, _ = pisr("presets", "--table", "2", "--json")
    table = json.loads(out)
    assert code == 0 and table["columns"] == ["PQ", "PQ_th", "PQ_st"]
    assert table["rows"][0] == {
        "printed": {
            "table": 2,
            "row": "UPSNet",
            "backbone": "RN50-FPN",
            "split": "val",
            "scores": {"PQ": 42.5, "PQ_th": 48.5, "PQ_st": 33.4},
        },
        "preset": "",
        "ours": False,
    }
    assert [row["preset"] for row in table["rows"] if row["printed"]["split"] == "test-dev" and row["ours"]] == [
        "coco-upernet-swinl"
    ]


def test_table_for_people_names_presets_and_dashes_what_is_not_printed(pisr):
    code, out, _ = pisr("presets", "--table", "1")
    lines = [line.strip("│ ").split("│") for line in out.splitlines() if line.startswith("│")]
    rows = {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}
    assert code == 0 and "cityscapes-pdl-hr48-baseline" in rows
    assert rows["Panoptic-DL + PISR, HR48"] == ["64.1", "37.6", "80.7"]
    assert rows["COPS, RN50"] == ["62.1", "–", "–"]


def test_a_preset_and_a_table_are_too_much(pisr):
    code, out, err = pisr("presets", "coco-pdl-r50", "--table", "1")
    assert code == 2 and not out and "not both" in err


def test_backbones_that_match(pisr):
    code, out, _ = pisr("presets", "--backbones", "test_vit*", "--json")
    listed = {backbone["name"]: backbone for backbone in json.loads(out)}
    assert code == 0 and {"test_vit", "test_vit2"} <= set(listed)
    assert listed["test_vit"]["output_strides"] == [8, 16, 32] and listed["test_vit"]["tags"] == ["r160_in1k"]
    code, _, err = pisr("presets", "--backbones", "resnet18x")
    assert code == 2 and "did you mean" in err
