"""The benchmarks of speed run in one call, reduced; what does not depend on the speed is checked."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def printed(script, *options, device=("--device", "cpu")):
    command = [sys.executable, str(BENCHMARKS / script), *device, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training():
    text = printed("training.py", "--runs", "1", "--size", "64x64", "--batch-size", "2", "--variants", "bf16")
    rows = re.findall(r"^(eager float32|channels last|bf16) +([\d.]+) +([\d.]+) +(\d+) +([\d.]+) +(\d+)$", text, re.M)
    assert [row[0] for row in rows] == ["eager float32", "channels last", "bf16"]
    assert rows[0][2] == rows[0][4] == "1.00"
    for _, rate, ratio, memory, _, image in rows:
        assert float(ratio) == pytest.approx(float(rate) / float(rows[0][1]), rel=0.02)
        assert float(image) == pytest.approx(float(memory) / 2, abs=1)
    assert "equal" in text and "NOT EQUAL" not in text
    assert re.search(r"loading: [\d.]+ images/s in one process", text)


def test_training_beside_the_public_step():
    text = printed("training.py", "--public", "step", "prediction", "--runs", "1", "--size", "64x128")
    assert float(re.search(r"the first step's losses differ by (\S+)$", text, re.M).group(1)) < 1e-2
    assert re.findall(r"^(step|prediction)(?: +[\d.]+){9} *$", text, re.M) == ["step", "prediction"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_kept_memory():
    text = printed("kept_memory.py", "--work", "prediction", "--size", "512x1024", "--runs", "1", device=())
    rows = dict(re.findall(r"^(given back|kept) +[\d.]+ +[\d.]+ +(\d+) +\d+$", text, re.M))
    assert int(rows["kept"]) < int(rows["given back"]) / 2


def test_feeding():
    text = printed("feeding.py", "--views", "3", "--scale", "0.2")
    assert len(re.findall(r"^\d+×\d+ (?:PNG|JPEG)(?: +[\d.]+){6}$", text, re.M)) == 2


def test_cost_against_size():
    text = printed(
        "inference.py", "--parts", "sizes", "instances", "batches", "--preset", "scenes-pdl-r18", "--runs", "1",
        "--size", "64x128", "--megapixels", "0.25", "--k", "10", "20", "--batches", "1", "2",
    )  # fmt: skip
    rows = re.findall(r"^ *(\S+) +[\d.]+ ms +[\d.]+ ms +\d+ MB +\d+ MB$", text, re.M)
    assert rows == ["352×704", "10", "20", "1", "2"]


def test_merging():
    text = printed("merging.py", "--size", "64x128", "--instances", "6", "--runs", "2")
    assert len(re.findall(r"equal$", text, re.M)) == 2
    assert ", equal" in printed("merging.py", "--boxes", "--size", "64x128", "--instances", "6", "--runs", "2")


def test_inside_pisr(tmp_path):
    config = presets.load("scenes-pdl-r18", ["data.scenes.size=[64, 64]", "relation.top_k=10"])
    path = tmp_path / "run" / "last.safetensors"
    path.parent.mkdir()
    save_checkpoint(path, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    (row,) = re.findall(r"^run +(.*)$", printed("inside_pisr.py", str(path), "--limit", "2"), re.M)
    assert "0.00" in row.split()  # an untrained residual adds nothing
    assert row.count("%") == 4


def test_module_choices(tmp_path):
    config = presets.load("scenes-pdl-r18-baseline", ["data.scenes.size=[64, 64]", "data.scenes.val_images=8"])
    base = tmp_path / "base.safetensors"
    save_checkpoint(base, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    text = printed(
        "module_choices.py", str(base), "--only",
        "heads,random g_p,K = 0,convolutions,lean,ReLU after g_s,ω of 16,hard + score + categories + unrelated",
        "--seeds", "2", "--steps", "1", "--images", "8", "--twins", "boat=car,dog=sheep",
        "--rows", str(tmp_path / "rows.csv"),
    )  # fmt: skip
    value = r" +(-?[\d.]+) ± +[\d.]+"
    rows = re.findall(rf"^(default|heads|random g_p|K = 0){5 * value}", text, re.M)
    assert [row[0] for row in rows] == ["default", "heads", "random g_p", "K = 0"]
    assert rows[0][5] == "0.00" and len(text.splitlines()) == 2 + 9
    for _, _, pq, _, twins, gain in rows:
        assert float(gain) == pytest.approx(float(pq) - float(rows[0][2]), abs=0.02)
        assert 0 < float(twins) < 100
    script, rows_of_runs = str(BENCHMARKS / "paired_tests.py"), str(tmp_path / "rows.csv")
    command = [sys.executable, script, rows_of_runs, "--against", "default", "--metric", "twins"]
    tested = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    gain = float(re.findall(r"^heads +([+-][\d.]+)", tested, re.M)[0])
    assert gain == pytest.approx(float(rows[0][4]) - float(rows[1][4]), abs=0.02)


def test_tradeoff(tmp_path):
    rows = ["variant,seed,pq", "none,0,50.0", "none,1,52.0", "pisr,0,53.0", "pisr,1,53.0"]
    (tmp_path / "study.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "configs").mkdir()
    for name in ("none", "pisr"):
        config = presets.load("scenes-pdl-r18", [f"relation.name={name}"])
        (tmp_path / "configs" / f"{name}-seed1.toml").write_text(presets.to_toml(config))
    text = printed("tradeoff.py", str(tmp_path), "--size", "64x64", "--runs", "2", "--out", str(tmp_path))
    none, pisr = re.findall(r"^(?:none|pisr) +([\d.]+) ± +([\d.]+) +[\d.]+ +([\d.]+)$", text, re.M)
    assert none == ("51.00", "1.41", "1.00") and pisr[:2] == ("53.00", "0.00") and float(pisr[2]) > 1.1
    assert (tmp_path / "tradeoff-macs.png").stat().st_size > 1000


def test_colors_in_features(tmp_path):
    config = presets.load("scenes-pdl-r18-baseline", ["data.scenes.size=[64, 64]"])
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    table = printed("colors_in_features.py", str(path), "--limit", "4")
    spread, error, explained = (
        [float(value) for value in re.findall(rf"^{name} +(.*)$", table, re.M)[0].split()]
        for name in ("spread of the colours", "error", "explained")
    )
    expected = [1 - (e / s) ** 2 for s, e in zip(spread, error, strict=True)]
    assert explained == pytest.approx(expected, abs=0.05)
