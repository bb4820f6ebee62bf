"""A report as a test reads it: its text and elements, well formed and loading nothing from anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}
# Elements and attributes through which a page could load or run something.
LOADERS = {"script", "iframe", "object", "embed", "link", "img", "image", "video", "audio", "base", "form"}


class Page(HTMLParser):
    """Collects the text, elements, attributes and ids of a page, and fails where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\u00a0", " ").split())


def assert_loads_nothing(page: Page) -> None:
    assert not LOADERS & set(page.elements)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert "http" not in value
        if name in ("href", "xlink:href", "src"):
            assert value.startswith("#")
        assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", value))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
