"""A network for films through the commands: a tiny VidEoMT behind a fake hub."""

import json

from tiny_films import CLASSES, frames, save, videomt

from pisr_core.data.pictures.video import written_video


def test_a_film_network_of_the_hub_predicts_films_and_refuses_the_rest_plainly(pisr, tmp_path, hub):
    folder = save(videomt(), tmp_path / "saved")
    hub.add("tiny/videomt", {path.name: path.read_bytes() for path in folder.iterdir()})
    with written_video(tmp_path / "clip.mp4", 10.0) as add:
        for frame in frames(4):
            add(frame)
    (tmp_path / "classes.csv").write_text("id,name,isthing\n1,person,1\n2,sky,0\n3,car,1\n4,road,0\n")
    model = ("--checkpoint", "tiny/videomt", "--categories", "classes.csv")
    sure = ("--set", "transformers.overlap_threshold=0", "--set", "transformers.object_mask_threshold=0")
    code, _, err = pisr("predict", "clip.mp4", *model, "--out", "out", *sure, "--format", "cityscapes-vps")
    assert code == 0, err
    annotations = json.loads((tmp_path / "out" / "pred.json").read_text())["annotations"]
    things = [{s["id"] for s in entry["segments_info"] if s["id"] > len(CLASSES)} for entry in annotations]
    assert len(things) == 4 and any(first & last for first, last in zip(things, things[1:], strict=False))
    for words, reason in (
        (("export", "--out", "net.onnx"), "videomt is not exported"),
        (("predict", "clip.mp4", "--out", "again", "--flip"), "Leave --multi-scale and --flip out"),
    ):
        code, out, err = pisr(*words, *model)
        assert code == 2 and out == "" and reason in err and "Traceback" not in err
