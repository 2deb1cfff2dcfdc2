"""PQ against another implementation, on files as users have them."""

import numpy as np
from hotcoco.panoptic import PanopticEval

from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.metrics.files import evaluate_files


def test_pq_equals_hotcoco(tmp_path, random_pair, categories, record_property):
    generator = np.random.default_rng(3)
    pairs = [random_pair(generator, categories) for _ in range(12)]
    for name, index in (("predicted", 0), ("annotated", 1)):
        with CocoPanopticWriter(tmp_path / f"{name}.json", tmp_path / name, categories) as writer:
            for image_id, pair in enumerate(pairs):
                writer.add(image_id, f"{image_id}.jpg", pair[index])
    paths = tmp_path / "predicted.json", tmp_path / "annotated.json"
    ours = evaluate_files(*paths, instances=False, semantic=False).to_json()["panoptic"]
    theirs = PanopticEval(paths[1], paths[0], gt_folder=tmp_path / "annotated", pred_folder=tmp_path / "predicted")
    theirs.evaluate()
    expected = theirs.results()
    groups = {"all": "All", "things": "Things", "stuff": "Stuff"}
    found = [(ours[group][key], expected[name][key]) for group, name in groups.items() for key in ("pq", "sq", "rq")]
    found += [
        (of_class[key], expected["per_class"][int(category)][key])
        for category, of_class in ours["per_class"].items()
        for key in ("pq", "sq", "rq")
    ]
    deviation = max(abs(value - 100 * other) for value, other in found)
    record_property("hotcoco's PQ, SQ and RQ of 0-100, absolute", float(deviation))
    assert deviation < 1e-9 and len(found) == 27
    for category, of_class in ours["per_class"].items():
        other = expected["per_class"][int(category)]
        assert [of_class[key] for key in ("tp", "fp", "fn")] == [other[key] for key in ("tp", "fp", "fn")]
