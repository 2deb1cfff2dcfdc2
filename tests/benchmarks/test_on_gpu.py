import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "on_gpu.py"

FAKE = """
import json, pathlib, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
name, out = options["--only"], pathlib.Path(options["--out"])
rows = [{"ms": 1.5}, {"ms": 2.5, "fps": 3.0}]
(out / f"{name}.json").write_text(json.dumps({"rows": rows, "device": "a card", "rehearsal": False}))
(out / f"{name}.md").write_text("| ms |")
if name == "merging":
    time.sleep(60)
if name == "table4":
    sys.exit("no such kernel")
"""


@pytest.fixture
def on_gpu(monkeypatch, tmp_path):
    """The script as a module, with parts that only pretend to measure."""
    spec = importlib.util.spec_from_file_location("on_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "on_gpu", module)
    spec.loader.exec_module(module)
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    monkeypatch.setattr(module, "__file__", str(fake))
    monkeypatch.setitem(module.PARTS, "merging", ("prediction", 1.0))
    return module


def test_parts_that_fail_or_take_too_long_end_by_themselves_and_are_named(on_gpu, tmp_path):
    outcomes = on_gpu.run_all(["table4", "merging", "ceilings"], tmp_path, rehearse=False, seconds=50)
    assert [one.status for one in outcomes] == ["failed (1): no such kernel", "did not end in time", "done"]
    assert [one.rows for one in outcomes] == [2, 2, 2]  # what was measured before stays
    assert outcomes[1].seconds < 10
    text = (tmp_path / "summary.md").read_text()
    assert "| merging | did not end in time |" in text and text.count("a card") == 3


def test_parts_for_which_no_time_is_left_are_named(on_gpu, tmp_path):
    (only,) = on_gpu.run_all(["ceilings"], tmp_path, rehearse=False, seconds=1)
    assert only.status == "no time was left"
    assert "| ceilings | no time was left | 0 | 0 |" in (tmp_path / "summary.md").read_text()


def test_a_rehearsal_on_the_cpu(tmp_path):
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--rehearse", "--parts", "merging"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + (tmp_path / "merging.log").read_text()
    found = json.loads((tmp_path / "merging.json").read_text())
    (row,) = found["rows"]
    assert found["rehearsal"] and row["segments"] >= 10 and row["ms"] > 0
    assert "whose numbers mean nothing" in (tmp_path / "summary.md").read_text()
