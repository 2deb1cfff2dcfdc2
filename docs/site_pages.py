"""A hook of mkdocs: the pages beside `docs/` join the site, and links lead to pages of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
"""Their names on the site."""

LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(((?!https?:|#)[^)\s]+)\)")
"""To another file of the repository."""


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that lie beside `docs/`."""
    for source, name in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=re.sub(r"\]\(docs/", "](", text)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Leads links to the site's pages; of links to source files the text remains."""

    def on_site(link: re.Match[str]) -> str:
        text, (target, _, place) = link[1], link[2].partition("#")
        name = PAGES.get(target.removeprefix("../"), target)
        if files.get_file_from_path(name) is None:
            return text
        return f"[{text}]({name}{'#' + place if place else ''})"

    return LINK.sub(on_site, markdown)
