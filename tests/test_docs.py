"""What the documentation shows is true: its Python runs, its commands and its links exist.

The Python blocks of a page run in order and share their names, in an empty folder. A `text` block
right after one is what it prints. `<!-- needs: gymnasium -->` before a block names a package
without which the rest of the page is skipped.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import types
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("reverie/**/*.md"))
    if path.name != "CHANGELOG.md"
)
BLOCK = re.compile(
    r"(?:^<!-- needs: (?P<needs>[\w, ]+) -->\n\n?)?"
    r"^```python[^\n]*\n(?P<code>.*?)^```\n"
    r"(?:\n?^```text[^\n]*\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One Python block of a page."""

    line: int
    code: str
    needs: list[str]
    output: str | None


def blocks(text: str) -> list[Block]:
    return [
        Block(
            text[: match.start("code")].count("\n"),
            match["code"],
            re.findall(r"\w+", match["needs"] or ""),
            match["output"],
        )
        for match in BLOCK.finditer(text)
    ]


def run(page: Path, text: str) -> None:
    module = types.ModuleType("page_of_the_documentation")
    sys.modules[module.__name__] = module  # a dataclass looks its module up
    for block in blocks(text):
        for package in block.needs:
            pytest.importorskip(package)
        source = "\n" * block.line + block.code
        code = compile(source, str(page), "exec", dont_inherit=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, module.__dict__)
        if block.output is not None:
            assert printed.getvalue() == block.output, f"{page}:{block.line} prints otherwise"


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p.read_text())], ids=named)
def test_python_of_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(page, page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_python_fence_of_the_page_is_found(page: Path) -> None:
    text = page.read_text()
    fences = len(
        re.findall(r"^\s*(?:```+|~~~+)\s*\{?\s*\.?(?:python|py|pycon)\b", text, re.MULTILINE)
    )
    assert fences == len(blocks(text)), "an indented or unusual fence would not be run"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets_of_the_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    code += re.findall(r"`([^`\n]+)`", page.read_text())
    used = {
        name
        for text in code
        for name in re.findall(r"^make (?:\w+=\S+ )?(\w+)", text, re.MULTILINE)
    }
    assert used <= targets, f"no such target: {used - targets}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_the_page_links_to_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page.read_text())
    broken = [link for link in links if not (page.parent / link).exists()]
    assert not broken, f"broken links: {broken}"


def test_a_wrong_snippet_fails_at_its_line() -> None:
    page = Path("page.md")
    run(page, "```python\nx = 1\n```\n\n```python\nprint(x)\n```\n\n```text\n1\n```\n")
    with pytest.raises(AssertionError, match="prints otherwise"):
        run(page, "```python\nprint(1)\n```\n\n```text\n2\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run(page, "words\n\n```python\n1 / 0\n```\n")
    assert caught.traceback[-1].lineno + 1 == 4
    with pytest.raises(pytest.skip.Exception):
        run(page, "<!-- needs: no_such_package -->\n\n```python\n1 / 0\n```\n")
