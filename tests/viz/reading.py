"""Reading a page back: its structure, its words and its pictures."""

import base64
import re
from html.parser import HTMLParser

EMPTY = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """Fails where tags do not match; collects words, attributes and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.words.append(data.strip())
            if self.open[-1] in ("h1", "h2"):
                self.headings.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def pictures(self) -> list[bytes]:
        sources = [v for tag, name, v in self.attributes if tag == "img" and name == "src"]
        assert all(s.startswith("data:image/webp;base64,") for s in sources)
        return [base64.b64decode(s.partition(",")[2]) for s in sources]

    def check_alone(self, text: str) -> None:
        """Nothing is loaded, run or sent."""
        tags = {tag for tag, _, _ in self.attributes}
        assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
        for tag, name, value in self.attributes:
            assert not name.startswith("on"), f"{tag} has a script in {name}"
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                assert value.startswith(("data:", "#")), f"{tag} loads {value[:60]}"
        assert not re.search(r"@import|url\(|https?://", text)
