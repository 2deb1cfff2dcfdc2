"""What `metrics.jsonl` says to those who read it back."""

from __future__ import annotations

import json
from typing import Any


def metrics_record(line: str) -> dict[str, Any] | None:
    """What a line of `metrics.jsonl` holds; `None` for a part of one, or anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
