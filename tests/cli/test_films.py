import json

import pytest


def test_films_are_prepared_and_scored(pisr):
    arguments = ("--train", 1, "--val", 2, "--size", "64x64", "--film", 4)
    code, _, err = pisr("data", "prepare", "scenes", "--out", "moving", *arguments)
    assert code == 0 and "2 validation films of 4 frames in moving" in err
    truth = "moving/annotations/panoptic_val.json"
    code, out, _ = pisr("eval", "--predictions", truth, "--annotations", truth, "--film", "--json")
    scores = json.loads(out)
    assert code == 0 and (scores["vpq"], scores["stq"], scores["id_switches"]) == (100, 100, 0)
    assert (scores["films"], scores["frames"]) == (2, 8) and set(scores["windows"]) == {"1", "2", "3", "4"}
    code, out, _ = pisr("eval", "--predictions", truth, "--annotations", truth, "--film")
    assert code == 0 and "STQ 100.0: AQ 100.0, SQ 100.0" in out and "0 changes of id in 8 frames of 2 films" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--film"], "predict the films first"),
        (["--predictions", "p.json", "--annotations", "g.json", "--film", "--metrics", "pq"], "leave --out"),
        (["--predictions", "p.json", "--annotations", "g.json", "--film"], "g.json"),
    ],
)
def test_what_cannot_be_scored(pisr, arguments, message):
    code, out, err = pisr("eval", *arguments)
    assert code == 2 and out == "" and message in err
