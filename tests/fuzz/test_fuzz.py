"""Every reader on mutated files: a result or one message that names the file, and nothing else.

`PISR_FUZZ_SEEDS=0:2000` runs other or more seeds than the suite does, for each kind of file.
"""

import copy
import json
import os
import random
import shutil
import signal
import struct
import tomllib
import warnings
from collections import Counter
from contextlib import contextmanager

import pytest
import tomli_w

from pisr_core.errors import PisrError

FIRST, LAST = map(int, os.environ.get("PISR_FUZZ_SEEDS", "0:16").split(":"))

TIME_LIMIT = 10
"""Seconds that one input may take."""

LONGEST_MESSAGE = 1500
"""Characters; people read messages."""

WHOLE = (0, 1, -1, 255, 256, 2**24, 2**31 - 1, 2**31, 2**63, -(2**63) - 1, 10**400)
NUMBERS = (*WHOLE, 1e308, -0.5, float("nan"), float("inf"))
TEXTS = ("", ".", "..", "../x", "/etc/passwd", "C:\\x", "a\0b", "\ud800", "\x1b[31m", "x" * 5000, "NaN", "é", "1")
CONTAINERS = ([], {}, [[]], [None], {"": None}, {"id": {}}, [0] * 1000)
HOSTILE = (None, True, False, *NUMBERS, *TEXTS, *CONTAINERS)


@pytest.fixture
def kind(request):
    """What the specimen is called, which is part of the seeds."""
    return request.node.callspec.id


def test_mutated_files_end_in_a_result_or_one_message(specimen, kind, tmp_path, monkeypatch):
    outcomes = Counter()
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    for seed in range(FIRST, LAST):
        rng = random.Random(f"{kind} {seed}")
        content = specimen.files[specimen.name]
        content = mutated(content, specimen.form, rng) if seed else content
        folder = write(tmp_path / "input", specimen.files | {specimen.name: content})
        before = listing(tmp_path)
        outcome = outcome_of(specimen, folder, f"{kind}, seed {seed}")
        outcomes[outcome] += 1
        if seed == 0:
            assert outcome == "read"  # of code in a pickle too: as data
        assert listing(tmp_path) == before, f"{kind}, seed {seed}: files where none should be"
    print(f"{kind}: seeds {FIRST} to {LAST - 1}: {dict(outcomes)}")


def outcome_of(specimen, folder, what):
    try:
        with time_limit(what), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            specimen.read(folder)
    except PisrError as error:
        message = str(error)
        assert str(folder) in message, f"{what}: the message names no file: {message}"
        assert len(message) <= LONGEST_MESSAGE, f"{what}: {len(message)} characters: {message[:300]}"
        return "refused"
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {str(error)[:300]}") from error
    return "read"


def listing(folder):
    """All files, except those below the one folder that may be written."""
    return sorted(path for path in folder.rglob("*") if "out" not in path.relative_to(folder).parts)


def write(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@contextmanager
def time_limit(what):
    def stop(number, frame):
        raise TimeoutError(f"{what}: not done after {TIME_LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TIME_LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutated(content, form, rng):
    """The file with one or several faults; of a form with a structure mostly within that."""
    if form == "bytes" or rng.random() < 0.1:
        return mutated_bytes(content, rng)
    if form == "json":
        return _json(mutated_tree(json.loads(content), rng))
    if form == "toml":
        return _toml(mutated_tree(tomllib.loads(content.decode()), rng))
    return _mutated_safetensors(content, rng)


def mutated_bytes(content, rng):
    for _ in range(rng.choice((1, 1, 2, 5))):
        content = rng.choice((_flip, _flip, _flip, _truncate, _splice, _overwrite, _overwrite, _repeat))(content, rng)
    return content


def _place(content, rng):
    """Anywhere, or among the first bytes, where headers are."""
    return rng.randrange(max(1, min(len(content), rng.choice((64, 1 << 60)))))


def _flip(content, rng):
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice((1, 1, 4))):
        changed[_place(changed, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(content, rng):
    return content[: rng.choice((0, _place(content, rng)))] if rng.random() < 0.2 else content[: _place(content, rng)]


def _splice(content, rng):
    """A part of the file moved to another place."""
    start, to = _place(content, rng), _place(content, rng)
    return content[:to] + content[start : start + rng.randrange(1, 64)] + content[to:]


def _repeat(content, rng):
    start = _place(content, rng)
    return content[:start] + content[start : start + rng.randrange(1, 16)] * rng.choice((2, 1000)) + content[start:]


def _overwrite(content, rng):
    """Bytes that lengths and counts must not have."""
    start = _place(content, rng)
    value = rng.choice(
        (b"\0\0\0\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 8, rng.randbytes(8))
    )
    return content[:start] + value + content[start + len(value) :]


def mutated_tree(tree, rng):
    """Values of another type or size, keys that are missing, entries that come twice, very deep ones."""
    holder = [copy.deepcopy(tree)]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        parent, key = rng.choice(_places(holder))
        change = rng.random()
        if change < 0.6 or parent is holder:
            parent[key] = copy.deepcopy(rng.choice(HOSTILE))
        elif change < 0.65:
            parent[key] = _deep(rng.choice((50, 5000)))
        elif change < 0.8:
            del parent[key]
        elif change < 0.9 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            other_parent, other_key = rng.choice(_places(holder))
            parent[key] = copy.deepcopy(other_parent[other_key])
    return holder[0]


class Raw(str):
    """Text that is written as it is."""


def _deep(depth):
    return Raw("[" * depth + "]" * depth)


def _places(node):
    found = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found.append((node, key))
        found += _places(value)
    return found


def _json(tree):
    """Python's own writer says NaN and infinity, which are no JSON but are found in files."""
    raw = {}

    def replaced(node):
        if isinstance(node, Raw):
            key = f"<raw {len(raw)}>"
            raw[json.dumps(key)] = node
            return key
        if isinstance(node, dict):
            return {key: replaced(value) for key, value in node.items()}
        return [replaced(value) for value in node] if isinstance(node, list) else node

    text = json.dumps(replaced(tree))
    for key, value in raw.items():
        text = text.replace(key, value)
    return text.encode()


def _toml(tree):
    """What TOML has no word for becomes text."""

    def writable(node):
        if isinstance(node, dict):
            return {str(key) or "empty": writable(value) for key, value in node.items()}
        if isinstance(node, list):
            return [writable(value) for value in node]
        if isinstance(node, str):
            return node.encode("utf-8", "replace").decode()
        return "none" if node is None else node

    return tomli_w.dumps(writable(tree) if isinstance(tree, dict) else {"value": writable(tree)}).encode()


def _mutated_safetensors(content, rng):
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.get("__metadata__", {})
    if "pisr" in metadata and rng.random() < 0.7:
        metadata["pisr"] = _json(mutated_tree(json.loads(metadata["pisr"]), rng)).decode()
    else:
        header = mutated_tree(header, rng)
    text = _json(header)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def test_mutations_differ_and_are_the_same_for_a_seed(specimen):
    content = specimen.files[specimen.name]
    found = [[mutated(content, specimen.form, random.Random(seed)) for seed in range(20)] for _ in range(2)]
    assert found[0] == found[1]
    assert sum(each != content for each in found[0]) >= 15 and len(set(found[0])) >= 15
