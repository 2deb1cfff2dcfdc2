import numpy as np
from PIL import Image

from pisr_core import presets
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.structures import Category, PanopticSegmentation, Segment
from pisr_core.training.train import build_trainer
from pisr_core.weights.files.checkpoint import read_checkpoint

SETTINGS = ["backbone.pretrained=false", "data.crop=[32, 32]", "data.workers=0", "train.batch_size=1", "train.steps=1"]


def test_the_range_of_the_training_images_is_in_the_checkpoint(tmp_path):
    """Images of 12 bits in 16; the validation image alone would have another range."""
    panoptic = PanopticSegmentation(np.ones((32, 32), np.int32), (Segment(1, 0, 0),))
    for split, value in (("train", 3000), ("val", 900)):
        json_path = tmp_path / "annotations" / f"panoptic_{split}.json"
        (tmp_path / split).mkdir()
        Image.fromarray(np.full((32, 32), value, np.uint16)).save(tmp_path / split / "a.png")
        with CocoPanopticWriter(json_path, json_path.with_suffix(""), (Category(1, "wall", False),)) as writer:
            writer.add(1, "a.png", panoptic)
    trainer = build_trainer(presets.load("custom-pdl-r18", SETTINGS), tmp_path, tmp_path / "run", device="cpu")
    trainer.run()
    assert read_checkpoint(trainer.folder.best).config.data.value_range == (0.0, 4095.0)
    assert "value_range = [\n    0.0,\n    4095.0,\n]" in trainer.folder.config.read_text()
    assert trainer.val_set[0].image.unique().tolist() == [round(900 * 255 / 4095)]
