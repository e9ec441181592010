"""Markdown as a reader sees it: rendered to HTML, and that read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from markdown_it import MarkdownIt


@dataclass
class Rendered:
    """What a page shows.

    Attributes:
        html: the whole page.
        tags: the names of all elements.
        headings: their texts.
        tables: by the heading above, each as rows of the texts of their cells.
        code: the texts of all code spans.
        plain: all text outside of code spans.
    """

    html: str
    tags: set[str] = field(default_factory=set)
    headings: list[str] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    code: list[str] = field(default_factory=list)
    plain: str = ""


class _Reader(HTMLParser):
    def __init__(self, page: Rendered) -> None:
        super().__init__()
        self.page = page
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.page.tags.add(tag)
        self.open.append(tag)
        if tag in ("h2", "h3"):
            self.page.headings.append("")
        elif tag == "table":
            assert self.page.headings[-1] not in self.page.tables
            self.page.tables[self.page.headings[-1]] = []
        elif tag == "tr":
            self.page.tables[self.page.headings[-1]].append([])
        elif tag in ("td", "th"):
            self.page.tables[self.page.headings[-1]][-1].append("")
        elif tag == "code":
            self.page.code.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" in self.open:
            self.page.code[-1] += data
        else:
            self.page.plain += data
        if {"h2", "h3"} & {*self.open}:
            self.page.headings[-1] += data
        elif {"td", "th"} & {*self.open}:
            self.page.tables[self.page.headings[-1]][-1][-1] += data


def rendered(markdown: str) -> Rendered:
    """Render GitHub-flavoured Markdown."""
    page = Rendered(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))
    reader = _Reader(page)
    reader.feed(page.html)
    reader.close()
    return page
