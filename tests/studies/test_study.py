import json
import sys
from dataclasses import replace

import pytest
import torch

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError, DataError, TrainingError
from pisr_core.models import build_model
from pisr_core.results.table import ResultsTable
from pisr_core.studies import processes
from pisr_core.studies.processes import Slot
from pisr_core.studies.study import TABLE_5, Study, Variant, parse_variant, run_study, write_initial_weights
from pisr_core.training.finetune import load_fitting_weights
from pisr_core.weights.files.checkpoint import read_checkpoint, save_checkpoint

TRAINER = """
import json, pathlib, sys, tomllib
arguments = sys.argv[1:]
value = {name: arguments[arguments.index(name) + 1] for name in ("--preset", "--out")}
config = tomllib.loads(pathlib.Path(value["--preset"]).read_text())
out = pathlib.Path(value["--out"])
assert ("--resume" in arguments) == (out / "state/training.pt").exists()
assert "--resume" in arguments or pathlib.Path(arguments[arguments.index("--weights") + 1]).exists()
if config["relation"]["name"] == "ocr" and "--resume" not in arguments:
    (out / "state").mkdir()
    (out / "state/training.pt").touch()
    sys.exit("error: the power failed")
pq = 10.0 * config["train"]["seed"] + len(config["relation"]["name"])
quality = {"pq": pq, "sq": 80.0, "rq": 50.0, "tp": 1, "fp": 0, "fn": 0}
classes = {str(number): quality for number in range(1, 100)}
classes["2"] = quality | {"pq": 0.0, "tp": 0}
groups = {"all": quality, "things": quality | {"pq": pq - 1}, "stuff": quality | {"pq": None}}
scores = {"panoptic": {**groups, "per_class": classes}, "semantic": {"miou": 60.0}}
lines = [{"step": 1, "evaluation": {}}, {"step": config["train"]["steps"], "evaluation": scores}, {"step": 2}]
(out / "metrics.jsonl").write_text("".join(json.dumps(line) + chr(10) for line in lines))
"""
"""Stands for `pisr train`; with OCR it breaks down once."""

SMALL = (
    "backbone.pretrained=false",
    "train.steps=2",
    "data.scenes.size=[64, 64]",
    "deeplab.aspp_channels=16",
    "relation.top_k=8",
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "POLL_SECONDS", 0.01)
    variants = tuple(variant for variant in TABLE_5 if variant.name in ("none", "pisr"))
    return Study("scenes-pdl-r18", variants, (0, 1), tmp_path / "study", SMALL)


def run(study):
    """The rows, and the names of the runs that were made for it."""
    made = []
    table = run_study(
        study,
        [sys.executable, "-c", TRAINER],
        [Slot((0,))],
        on_done=lambda row: made.append((row["variant"], row["seed"])),
    )
    return table, made


def test_variants_are_written_as_settings():
    assert parse_variant("ocr") == Variant("ocr", ("relation.name=ocr",))
    assert parse_variant("plain:") == Variant("plain")
    text = "mine:data.crop=[64,64],relation.detach=true"
    assert parse_variant(text) == Variant("mine", ("data.crop=[64,64]", "relation.detach=true"))


@pytest.mark.parametrize("text", ["ocrr", "a b:relation.name=ocr", ":relation.name=ocr", "../x:train.lr=1"])
def test_a_wrong_variant_is_named(text):
    with pytest.raises(ConfigError, match="NAME:key=value"):
        parse_variant(text)


def test_runs_differ_in_variant_and_seed_alone(study):
    runs = study.runs()
    assert [run.name for run in runs] == ["none-seed0", "pisr-seed0", "none-seed1", "pisr-seed1"]
    none, pisr = runs[0].config, runs[1].config
    assert (none.relation.name, pisr.relation.name, runs[2].config.train.seed) == ("none", "pisr", 1)
    assert replace(none, name="", relation=pisr.relation) == replace(pisr, name="")
    assert pisr.train.eval_every == 0 and pisr.train.eval_images == 0
    with pytest.raises(ConfigError, match="once"):
        replace(study, seeds=(0, 0)).runs()
    with pytest.raises(ConfigError, match=r"train\.eval_images: a study judges each run once, in the end"):
        replace(study, settings=("train.eval_images=16",)).runs()
    with pytest.raises(ConfigError, match="nothing"):
        replace(study, variants=()).runs()


def started(config, path):
    """A model as a run of a study starts with it."""
    torch.manual_seed(config.train.seed)
    model = build_model(config, SCENE_CATEGORIES)
    load_fitting_weights(model, path)
    return model.state_dict()


@pytest.mark.parametrize("preset", ["scenes-pdl-r18", "custom-pfpn-r18"])
def test_all_variants_of_a_seed_start_equal(preset, tmp_path):
    study = Study(preset, TABLE_5, (0, 1), tmp_path, SMALL)
    path = tmp_path / "initial.safetensors"
    write_initial_weights(path, study.config((), 0), SCENE_CATEGORIES)
    states = {run.variant: started(run.config, path) for run in study.runs() if run.seed == 0}
    shared = {name for name in states["pisr"] if not name.startswith("relation.")}
    for variant, state in states.items():
        own = {name for name in state if not name.startswith("relation.")}
        assert own == (shared if variant != "none" else {n for n in shared if not n.startswith("final_heads.")})
        assert all(torch.equal(state[name], states["pisr"][name]) for name in own), variant
    attention = [name for name in states["pisr"] if name.startswith("relation.attention.")]
    assert attention and all(torch.equal(states["pisr"][n], states["noreweight"][n]) for n in attention)


def test_another_seed_starts_elsewhere(study, tmp_path):
    for seed in (0, 1):
        write_initial_weights(tmp_path / f"{seed}.safetensors", study.config((), seed), SCENE_CATEGORIES)
    config = study.runs()[0].config
    one, two = (started(config, tmp_path / f"{seed}.safetensors") for seed in (0, 1))
    drawn = [name for name in one if name.endswith("conv1.weight")]
    assert drawn and not any(torch.equal(one[name], two[name]) for name in drawn)


def test_a_trained_base_starts_both_stages_of_all_variants(study, tmp_path):
    config = study.config(("relation.name=none",), 3)
    for seed in study.seeds:
        torch.manual_seed(100 + seed)
        state = build_model(config, SCENE_CATEGORIES).state_dict()
        save_checkpoint(tmp_path / f"base{seed}.safetensors", state, config, SCENE_CATEGORIES, {"step": 9})
    study = replace(study, weights=tmp_path / "base{seed}.safetensors")
    run(study)
    for seed in study.seeds:
        base = read_checkpoint(tmp_path / f"base{seed}.safetensors").state
        initial = read_checkpoint(study.out / "initial" / f"seed{seed}.safetensors").state
        assert all(torch.equal(initial[name], tensor) for name, tensor in base.items())
        final = {name for name in initial if name.startswith("final_heads.")}
        assert final and all(torch.equal(initial[n], base[n.replace("final_", "initial_")]) for n in final)


def test_a_study_begun_from_other_weights_is_refused(study, tmp_path):
    run(study)
    grown = replace(study, seeds=(0, 1), variants=TABLE_5[:2], weights=tmp_path / "base.safetensors")
    with pytest.raises(ConfigError, match="random weights.*--weights"):
        run(grown)


def test_scores_come_from_the_last_evaluation(study):
    table, made = run(study)
    assert made == [("none", 0), ("pisr", 0), ("none", 1), ("pisr", 1)]
    row = table.find(variant="pisr", seed=1)
    assert (row["pq"], row["pq_things"], row["pq_stuff"], row["miou"], row["steps"]) == (14.0, 13.0, None, 60.0, 2)
    first, second, third = (category.name for category in SCENE_CATEGORIES[:3])
    assert (row[f"pq {first}"], row[f"pq {second}"], row[f"pq {third}"]) == (14.0, None, 14.0)
    assert ResultsTable.read_csv(study.table) == table
    written = presets.load(str(study.out / "configs" / "pisr-seed1.toml"))
    assert written.name == "scenes-pdl-r18-pisr" and written.train.seed == 1


def test_a_study_continues_and_grows(study):
    before, _ = run(study)
    again, made = run(study)
    assert again == before and made == []
    wider = replace(study, seeds=(0, 1, 2), variants=(study.variants[1], parse_variant("d:relation.channels=32")))
    table, made = run(wider)
    assert made == [("d", 0), ("d", 1), ("pisr", 2), ("d", 2)]
    assert [(row["variant"], row["seed"]) for row in table.rows][:2] == [("pisr", 0), ("d", 0)]
    assert len(table.rows) == 6 and len(ResultsTable.read_csv(study.table).rows) == 8


def test_a_run_that_was_begun_with_other_settings_is_refused(study):
    run(study)
    with pytest.raises(ConfigError, match="train.steps: 2 → 3"):
        run(replace(study, settings=(*SMALL, "train.steps=3")))


def test_a_row_without_its_config_is_made_again(study):
    run(study)
    (study.out / "configs" / "none-seed1.toml").unlink()
    table, made = run(study)
    assert made == [("none", 1)] and len(table.rows) == 4


def test_a_failed_run_is_named_and_resumed(study):
    study = replace(study, variants=(parse_variant("ocr"), parse_variant("pisr")), seeds=(0,))
    with pytest.raises(TrainingError, match=r"(?s)1 of 2 runs failed.*ocr-seed0: error: the power failed"):
        run(study)
    table, made = run(study)
    assert made == [("ocr", 0)] and len(table.rows) == 2


def test_a_table_of_other_classes_is_refused(study):
    study.out.mkdir()
    study.table.write_text(json.dumps("variant") + "\n")
    with pytest.raises(DataError, match="another dataset"):
        run(study)
