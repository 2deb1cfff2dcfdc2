import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

RUNS = {
    "panoptic_deeplab": ["scenes-pdl-r18"],
    "lean": ["scenes-pdl-r18-lean"],
    # Adam's first step divides by the gradients' size: in this run's second step rounding would show.
    "ocr": ["scenes-pdl-r18-ocr", "train.optimizer=sgd", "train.lr=1e-4"],
    "upernet": ["custom-upernet-r18"],
    "maskformer": ["custom-maskformer-r18"],
    "panoptic_fpn": ["custom-pfpn-r18", "fpn.proposals=50", "fpn.box_samples=32", "fpn.detections=10"],
}


@pytest.fixture(scope="module")
def results():
    """In a process of its own, for the pretended device changes torch."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch takes no device that is written in Python")
    command = [sys.executable, Path(__file__).parents[1] / "shared" / "on_pretend_device.py", json.dumps(RUNS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", RUNS)
def test_another_device_gives_the_same_and_meets_no_tensor_of_the_cpu(results, name):
    assert "error" not in results[name], results[name]["error"]
    on_cpu, there = results[name]["cpu"], results[name]["pretended"]
    for ours, theirs in zip(there["losses"], on_cpu["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert there["maps"] == on_cpu["maps"]
    for ours, theirs in zip(there["heatmaps"], on_cpu["heatmaps"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "step", "image"),
    [
        ("panoptic_deeplab", 1, 1),
        ("lean", 1, 1),
        ("ocr", 1, 1),
        ("upernet", 1, 1),
        ("maskformer", 2, 1),  # its matching is SciPy's
        ("panoptic_fpn", 94, 2),  # torchvision's boxes; an image waits for their places, and for what is made of them
    ],
)
def test_nothing_waits_for_the_device_more_often_than_it_must(results, name, step, image):
    waits = results[name]["pretended"]["waits"]
    assert sum(waits["step"].values()) <= step, waits
    assert sum(waits["merging"].values()) <= 2 * image, waits  # of two images
    assert not waits["forward fast"] or name == "panoptic_fpn", waits  # else no CUDA graph can be recorded
