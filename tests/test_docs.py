"""What the documentation says can be done works."""

import ast
import json
import re
import runpy
import shlex
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from json_schemas import check_document, schema_path, validator
from PIL import Image
from typer.main import get_command

import pisr_core
from pisr_cli.app import app, main
from pisr_core import data, models, presets, relations
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint

ROOT = Path(__file__).parent.parent
TOUR = ROOT / "docs" / "tour.md"
NOTEBOOK = ROOT / "docs" / "python.ipynb"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, languages="sh|python"):
    return re.findall(rf"^```({languages})\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(text):
    """The calls of `pisr` in shell lines, as lists of words."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["pisr"]:
                yield words[1:]


EXAMPLES = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    if page not in (TOUR, ROOT / "README.md")
    for number, (_, code) in enumerate(blocks(page, "python"))
]
INLINE = [
    pytest.param(words, id=f"{page.stem}: pisr {' '.join(words)}")
    for page in PAGES
    for text in sorted(set(re.findall(r"(?<!`)`(pisr [^`]+)`", page.read_text())))
    for words in commands(text)
]
COMMANDS = [
    pytest.param(words, id=f"{page.stem}: pisr {' '.join(words)}")
    for page in PAGES
    for _, text in blocks(page, "sh")
    for words in commands(text)
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder; what an example adds to the registries is forgotten."""
    monkeypatch.chdir(tmp_path)
    registries = (relations.RELATIONS, data.DATASETS, models.MODELS)
    before = [dict(registry) for registry in registries]
    yield tmp_path
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


def execute(code, names):
    exec(compile(code, "<documentation>", "exec"), names)


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs(code, folder):
    execute(code, {"__name__": "example"})


def test_readme_examples_run(folder):
    config = presets.load("scenes-pdl-r18", ["merge.stuff_area=0.0"])
    state = build_model(config, SCENE_CATEGORIES).state_dict()
    save_checkpoint(folder / "runs/first/best.safetensors", state, config, SCENE_CATEGORIES, {})
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save("photo.jpg")
    names = {"__name__": "example"}
    for _, code in blocks(ROOT / "README.md", "python"):
        execute(code, names)
    assert (folder / "predictions/overlay/photo.jpg").is_file()


def test_tour_runs_from_beginning_to_end(folder, capfd):
    names = {"__name__": "example"}
    for language, code in blocks(TOUR):
        if language == "python":
            execute(code, names)
            continue
        for words in commands(code):
            with pytest.raises(SystemExit) as exit_:
                main(words)
            assert not exit_.value.code, (words, capfd.readouterr().err)
    for written in ("scores/report.html", "predictions/panoptic.json", "one/overlay", "overlay-2.png", "heatmaps", "k"):
        assert (folder / written).exists()
    assert torch.is_tensor(names["model"].network.pixel_mean)


def code_cells(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def shown(code, names):
    """Runs a cell as a notebook does; what its last line gives is shown."""
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), "<notebook>", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "<notebook>", "eval"), names)
    exec(compile(ast.Module([last], []), "<notebook>", "exec"), names)
    return None


def test_notebook_runs_from_top_to_bottom(folder):
    names = {"__name__": "notebook"}
    values = [shown("".join(cell["source"]), names) for cell in code_cells(NOTEBOOK)]
    pictures = [value for value in values if hasattr(value, "_repr_html_")]
    assert len(pictures) == 2 and all("<tr><td>" in picture._repr_html_() for picture in pictures[:1])
    assert names["metric"].compute().things.pq == pytest.approx(200 / 3)


def test_notebook_was_saved_with_its_pictures_and_without_errors():
    outputs = [output for cell in code_cells(NOTEBOOK) for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    assert sum("text/html" in output.get("data", {}) for output in outputs) == 2


def parsed(words):
    """The values of a command's parameters; an error of click's where there is no such command or option."""
    command = get_command(app)
    while True:
        context = command.make_context("pisr", list(words))
        if not hasattr(command, "commands"):
            return context.params
        rest = [*context._protected_args, *context.args]
        _, command, words = command.resolve_command(context, rest)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_in_the_documentation_exists(words):
    values = parsed(words)
    named = values.get("preset") or values.get("presets") or ()
    for name in [named] if isinstance(named, str) else named:
        presets.load(name, values.get("settings") or ())


@pytest.mark.parametrize("words", INLINE)
def test_every_command_and_option_within_a_sentence_exists(words):
    command = get_command(app)
    for word in words:
        if word.startswith("-"):
            assert word.split("=")[0] in {"--help", "-h"} | {
                name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
            }
        elif hasattr(command, "commands") and not word.isupper():
            command = command.commands[word]


def test_commands_to_copy_are_marked_as_such():
    for page in PAGES:
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE):
            assert language == "sh" or not re.search(r"^(pisr|pip|python) ", text, flags=re.MULTILINE), (
                page.name,
                text,
            )


@pytest.mark.skipif(
    tuple(map(int, version("typer").split(".")[:2])) < (0, 25), reason="tells less of the arguments' help"
)
def test_page_of_commands_is_up_to_date():
    page = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))["document"]()
    assert (ROOT / "docs" / "cli.md").read_text() == page, "run: python docs/make_cli.py"


def test_schemas_are_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    made = runpy.run_path(str(ROOT / "docs" / "make_schema.py"))
    files = made["files"](made["schemas"]())
    assert {path.name: text for path, text in files.items()} == {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "schema").iterdir()
    }, "run: python docs/make_schema.py"
    for path in files:
        validator(path).check_schema(validator(path).schema)


def test_a_schema_takes_nothing_that_it_does_not_list():
    scores = {"images": 2, "seconds": 0.5}
    check_document(["eval", "--json"], json.dumps(scores))
    for wrong in ({**scores, "pq": 50.0}, {**scores, "images": "2"}):
        with pytest.raises(AssertionError, match="eval.json does not fit"):
            check_document(["eval", "--json"], json.dumps(wrong))


def test_every_command_has_an_example_and_json():
    def leaves(command, name):
        below = getattr(command, "commands", {})
        for word, child in below.items():
            yield from leaves(child, f"{name} {word}")
        if not below:
            yield name, command

    found = dict(leaves(get_command(app), "pisr"))
    assert {"pisr train", "pisr env", "pisr data convert masks", "pisr weights import"} <= found.keys()
    for name, command in found.items():
        assert f"Example: {name}" in command.help, name
        assert any("--json" in parameter.opts for parameter in command.params), name
        assert schema_path(name.split()[1:]), f"{name}: add what --json prints to docs/make_schema.py"


def test_every_page_is_on_the_site_and_every_public_name_in_its_reference():
    site = (ROOT / "mkdocs.yml").read_text()
    for page in (*(ROOT / "docs").glob("*.md"), NOTEBOOK):
        assert f": {page.name}\n" in site, page.name
    reference = (ROOT / "docs" / "api.md").read_text()
    for name in pisr_core.__all__:
        assert re.search(rf"^::: pisr_core\.[\w.]+\.{name}$", reference, flags=re.MULTILINE), name


def test_links_lead_somewhere():
    for page in PAGES:
        prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([\w./-]+)\)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
