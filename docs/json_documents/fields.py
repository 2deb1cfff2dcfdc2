"""Documents that are made of a class."""

import typing
from typing import Any, TypedDict


def with_fields(kind: type, **fields: Any) -> Any:
    """The document that a dataclass becomes with further fields."""
    document: Any = TypedDict(kind.__name__, typing.get_type_hints(kind) | fields)  # type: ignore[misc]
    document.__doc__ = kind.__doc__
    return document
