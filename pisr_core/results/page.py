"""One HTML file that holds what it shows: text, tables and pictures, or links to these."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pisr_core.results.table import Cell
from pisr_core.runtime.atomic import written_whole

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #667085; --line: #e6e8ec; --accent: #0b6e99; --ground: #fff;
  --head: #f5f6f8; --bar: #0b6e9926; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e6ea; --soft: #9aa4b2; --line: #30363d; --accent: #58b4d9;
  --ground: #16191d; --head: #20252b; --bar: #58b4d940; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink); background: var(--ground);
  max-width: 1200px; margin: 2.5rem auto; padding: 0 1.5rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
p { max-width: 80ch; color: var(--soft); margin: .4rem 0; }
table { border-collapse: separate; border-spacing: 0; }
.table { margin: 1rem 0; max-height: 80vh; overflow: auto; width: fit-content; max-width: 100%; }
th, td { padding: .28rem .8rem; text-align: right; font-variant-numeric: tabular-nums;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th { background: var(--head); font-weight: 600; position: sticky; top: 0; z-index: 1; }
th:first-child, td:first-child, td.text { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; }
td:first-child { background: var(--ground); } th:first-child { z-index: 2; }
tbody tr:hover td { background-color: var(--head); }
table.sortable th { cursor: pointer; } table.sortable th:hover { color: var(--accent); }
td.bar { background: linear-gradient(var(--bar) 0 0) left / var(--share) 76% no-repeat; background-position-y: center; }
tr.strong td { font-weight: 700; color: var(--accent); }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .7rem 1.1rem; min-width: 6.2rem; }
.card b { display: block; font-size: 1.7rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; } .card:first-child b { color: var(--accent); }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .85rem; margin-top: .2rem; }
img { max-width: 100%; border-radius: 4px; display: block; }
.row { display: grid; gap: .8rem; margin: .4rem 0 1.6rem; grid-template-columns: repeat(var(--columns), 1fr); }
.row figure { margin: 0; } .row img { width: 100%; }
h3 { font-size: .95rem; font-weight: 600; margin: 1.2rem 0 .2rem; }
@media (max-width: 700px) {
  body { margin: 1.2rem auto; padding: 0 .9rem; } th, td { padding: .28rem .5rem; }
  td:first-child { max-width: 45vw; overflow: hidden; text-overflow: ellipsis; }
  .row { grid-template-columns: repeat(min(var(--columns), 2), 1fr); gap: .4rem; } .card { flex: 1; }
}
"""
"""Light or dark as the browser is; wide and long tables scroll by themselves, their heads and names stay."""

SORTING = """
for (const head of document.querySelectorAll("table.sortable th")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], place = head.cellIndex;
  const up = head.dataset.up = head.dataset.up === "1" ? "" : "1";
  const value = row => { const text = row.cells[place].textContent, number = parseFloat(text);
    return text === "–" ? null : isNaN(number) ? text : number; };
  const order = (a, b) => (a === null) - (b === null) || (a > b ? 1 : a < b ? -1 : 0) * (a === null || up ? 1 : -1);
  body.append(...[...body.rows].sort((a, b) => order(value(a), value(b))));
};
"""
"""Sorts a table by the column whose head is clicked; dashes come last."""


class Page:
    """Gathers the parts of a page in order; all text is escaped.

    Args:
        title: its heading and the browser's title.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []
        self._sortable = False

    def heading(self, text: str) -> None:
        """Begins a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Adds a paragraph of plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def cards(self, values: Mapping[str, float | None]) -> None:
        """Adds numbers to see at a glance, by their names."""
        cards = "".join(f"<div class=card><b>{_text(v)}</b><span>{escape(k)}</span></div>" for k, v in values.items())
        self._parts.append(f'<div class="cards">{cards}</div>')

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        bars: Collection[str] = (),
        strong: Collection[int] = (),
        sortable: bool = False,
    ) -> None:
        """Adds a table; numbers that are not whole get one decimal, `None` a dash.

        Args:
            columns: their names.
            rows: their cells.
            bars: columns whose values, 0–100, are drawn as bars too.
            strong: rows to stand out.
            sortable: a click on a column's head sorts by it.
        """
        self._sortable |= sortable
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        lines = []
        for index, row in enumerate(rows):
            cells = "".join(_cell(cell, name in bars) for name, cell in zip(columns, row, strict=True))
            lines.append(f'<tr class="strong">{cells}</tr>' if index in strong else f"<tr>{cells}</tr>")
        opening = '<table class="sortable">' if sortable else "<table>"
        body = f"{opening}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        self._parts.append(f'<div class="table">{body}</div>')

    def picture(self, pixels: UInt8[np.ndarray, "H W 3"], caption: str = "", lossless: bool = False) -> None:
        """Adds an RGB picture, as JPEG unless it must be exact."""
        self._parts.append(_picture(pixels, caption, lossless))

    def pictures(self, title: str, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]]) -> None:
        """Adds RGB pictures side by side, by their captions."""
        figures = "".join(_picture(pixels, caption) for caption, pixels in pictures.items())
        columns = f"--columns: {len(pictures)}"
        self._parts.append(f'<h3>{escape(title)}</h3><div class="row" style="{columns}">{figures}</div>')

    def picture_file(self, path: Path, caption: str = "") -> None:
        """Adds a PNG, JPEG or SVG file as it is, for example a plot."""
        kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".svg": "svg+xml"}[path.suffix.lower()]
        self._parts.append(_figure(_embedded(kind, path.read_bytes()), caption))

    def picture_link(self, path: str, caption: str = "") -> None:
        """Adds a picture that stays a file of its own, for pages of thousands; `path` is relative to the page."""
        self._parts.append(_figure(quote(path), caption))

    def write(self, path: Path) -> None:
        """Writes the page, whole or not at all."""
        script = f"\n<script>{SORTING}</script>" if self._sortable else ""
        document = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title>"
            f"<style>{STYLE}</style></head>\n<body><h1>{escape(self.title)}</h1>\n"
            + "\n".join(self._parts)
            + f"{script}\n</body></html>\n"
        )
        with written_whole(path) as part:
            part.write_text(document, encoding="utf-8")


def _picture(pixels: UInt8[np.ndarray, "H W 3"], caption: str, lossless: bool = False) -> str:
    kind = "png" if lossless else "jpeg"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, quality=88)
    return _figure(_embedded(kind, buffer.getvalue()), caption)


def _embedded(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _figure(source: str, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{source}" alt="{escape(caption)}" loading="lazy">{below}</figure>'


def _cell(cell: Cell, bar: bool) -> str:
    if isinstance(cell, str):
        return f'<td class="text">{escape(cell)}</td>'
    if bar and isinstance(cell, int | float):
        return f'<td class="bar" style="--share: {min(max(cell, 0), 100):.0f}%">{_text(cell)}</td>'
    return f"<td>{escape(_text(cell))}</td>"


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)
