"""What a reader of a report's HTML finds in it."""

import json
from html.parser import HTMLParser
from typing import Any

from cinefeat.pipeline.reporting.page import FORMS, lookup

VOID = {"meta", "link", "img", "br", "hr", "col", "input"}


class Page(HTMLParser):
    """What a reader of the HTML finds: figures, elements, the text of tables, and the JSON."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: list[tuple[str, Any, str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.bare: list[str] = []
        self.json = ""
        self._data: dict[str, str | None] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "data":
            self._data = {**dict(attrs), "text": ""}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "data":
            one = self._data
            self.figures.append(
                (str(one["data-at"]), json.loads(str(one["value"])), str(one["text"]))
            )

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "data":
            self._data["text"] = str(self._data["text"]) + data
        elif self.open and self.open[-1] == "script":
            self.json += data
        elif "dd" in self.open or "td" in self.open:
            self.bare.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def assert_shown_as_stored(page: Page, tree: Any) -> None:
    """Every figure of a page is the one at its place in a tree, in one of the forms of a figure."""
    for pointer, value, shown in page.figures:
        assert lookup(tree, pointer) == value, pointer
        forms = {form(value) for form in FORMS.values() if _takes(form, value)}
        assert shown in (forms if value is not None else {"–"}), pointer


def _takes(form: Any, value: Any) -> bool:
    try:
        form(value)
    except (TypeError, ValueError):
        return False
    return True
