"""One HTML file that holds everything it shows: text, tables and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pisr_core.results.table import Cell
from pisr_core.weights.atomic import written_whole

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .7rem; text-align: right; font-variant-numeric: tabular-nums;
  border-bottom: 1px solid #e4e4e4; }
th { background: #f6f6f6; position: sticky; top: 0; } th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } figcaption { color: #666; font-size: .9rem; } img { max-width: 100%; border-radius: 4px; }
"""


class Page:
    """Gathers the parts of a page in order; all text is escaped.

    Args:
        title: its heading and the browser's title.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Begins a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Adds a paragraph of plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Adds a table; numbers that are not whole get one decimal, `None` a dash."""
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(_text(cell))}</td>" for cell in row) + "</tr>" for row in rows)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def picture(self, pixels: UInt8[np.ndarray, "H W 3"], caption: str = "", lossless: bool = False) -> None:
        """Adds an RGB picture, as JPEG unless it must be exact."""
        kind = "png" if lossless else "jpeg"
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=kind, quality=88)
        self._figure(kind, buffer.getvalue(), caption)

    def picture_file(self, path: Path, caption: str = "") -> None:
        """Adds a PNG, JPEG or SVG file as it is, for example a plot."""
        kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".svg": "svg+xml"}[path.suffix.lower()]
        self._figure(kind, path.read_bytes(), caption)

    def write(self, path: Path) -> None:
        """Writes the page, whole or not at all."""
        document = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f"<style>{STYLE}</style></head>\n<body><h1>{escape(self.title)}</h1>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n"
        )
        with written_whole(path) as part:
            part.write_text(document, encoding="utf-8")

    def _figure(self, kind: str, content: bytes, caption: str) -> None:
        source = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f'<figure><img src="{source}" alt="{escape(caption)}">{below}</figure>')


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)
