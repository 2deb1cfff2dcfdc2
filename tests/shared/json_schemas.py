"""What `--json` prints, against the schemas that the documentation ships."""

import json
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parents[2] / "docs" / "schema"


@cache
def validator(path):
    return Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


def schema_path(words):
    """The schema of a command or of its group, by the first of its words; none where there is none."""
    candidates = [FOLDER / f"{'-'.join(words[:count])}.json" for count in (3, 2, 1) if count <= len(words)]
    return next((path for path in candidates if path.is_file()), None)


def check_document(arguments, text):
    """Raises where a command printed what its schema does not list."""
    words = [word for word in arguments if not word.startswith("-")]
    path = schema_path(words)
    assert path is not None, f"docs/schema has none of pisr {' '.join(words[:2])}: add it in docs/make_schema.py"
    errors = [f"{error.json_path}: {error.message[:300]}" for error in validator(path).iter_errors(json.loads(text))]
    assert not errors, f"{path.name} does not fit (docs/json_documents is where it is made):\n" + "\n".join(errors)
