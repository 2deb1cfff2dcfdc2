import pytest
from tiny_training import CONFIG, metrics, tiny_parts

from pisr_core import presets, train
from pisr_core.errors import ConfigError
from pisr_core.training.listeners import TrainListener


class Steps(TrainListener):
    def __init__(self):
        self.seen = []

    def on_step(self, record):
        self.seen.append(record.step)


def test_a_run_with_settings_by_dotted_keys(tmp_path):
    heard = Steps()
    with tiny_parts():
        result = train(CONFIG, tmp_path / "run", settings={"train.steps": 4}, device="cpu", listeners=[heard])
        again = train(CONFIG, str(tmp_path / "run"), settings={"train.steps": 4}, device="cpu", resume=True)
    assert heard.seen == [1, 2, 3, 4] and result.progress.step == again.progress.step == 4
    assert result.folder.best == tmp_path / "run/best.safetensors" and result.folder.best.is_file()
    assert presets.load(str(result.folder.config)).train.steps == 4 and CONFIG.train.steps == 8
    assert [line["step"] for line in metrics(tmp_path / "run") if "losses" in line] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        (CONFIG, {"train.stepz": 4}, "train.steps"),
        (CONFIG, {"train.steps": "many"}, "train.steps"),
        ("scenes-pdl-r81", {}, "scenes-pdl-r18"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(preset, settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train(preset, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()
