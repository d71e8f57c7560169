"""The page, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reverie.core.spec import Space
from reverie.serve.page import Sheet, bounds, policy, render
from tests.serve.browser import CHROMIUM, Tab, browser
from tests.serve.served import Player, Server, of_tests, started

SHEET = Sheet("a", "b", ("x",), (-1.0,), (1.0,), False, "", 0, "", False, False)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def test_what_it_says_cannot_break_out_of_it() -> None:
    nasty = "</script><script>alert(1)</script>"
    text = render(replace(SHEET, title=nasty, levers=(nasty,), text="{{script}}"))
    assert nasty not in text
    assert text.count("<script") == 2
    assert text.count("{{script}}") == 1


def test_the_policy_names_no_host_that_is_none() -> None:
    assert "ws://robot:80" in policy("robot:80")
    assert policy("a; script-src *") == policy("")


def test_entries_without_a_bound_go_from_minus_one_to_one() -> None:
    free = float("inf")
    assert bounds(Space((2,), low=(-2.0, -free), high=(3.0, free))) == ((-2, -1), (3, 1))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def tab(chromium: Tab) -> Iterator[Tab]:
    chromium.problems.clear()
    chromium.requests.clear()
    yield chromium
    chromium.open("about:blank")
    chromium.wait("location.href === 'about:blank'")


def picture(tab: Tab, name: str) -> str:
    return str(tab.ask(f"document.getElementById('{name}').toDataURL()"))


@needs_browser
def test_a_person_drives_records_and_downloads(tab: Tab, server: Server, run: Path) -> None:
    tab.see(1200, 900)
    tab.open(server.address)
    tab.wait("typeof now !== 'undefined' && now && drives && now.decisions > 5")
    tab.ask("document.getElementById('seed').value = 5")
    tab.click("#reset")
    tab.wait("now.seed === 5")
    one, real = picture(tab, "model"), picture(tab, "real")
    tab.key("keyDown", "ArrowRight", "ArrowRight")
    tab.wait("now.action[0] === 1 && latency > 0")
    tab.wait("Number(document.getElementById('rate').textContent) > 10")
    assert picture(tab, "model") != one
    assert picture(tab, "real") != real
    assert tab.ask("document.getElementById('drift').textContent") > "0"
    tab.key("keyUp", "ArrowRight", "ArrowRight")
    tab.wait("now.action[0] === 0")
    tab.click("#record")
    tab.wait("now.recording && now.recording.frames > 5")
    tab.click("#record")
    href = tab.wait("document.querySelector('#saved a')?.getAttribute('href')")
    assert (run / "play" / href.rpartition("/")[2]).is_file()
    tab.key("keyDown", " ", "Space")
    tab.wait("now.paused && document.getElementById('pause').textContent === 'Go on'")
    before = tab.ask("now.decisions")
    tab.key("keyDown", ".", "Period")
    tab.wait(f"now.decisions === {before + 1}")
    tab.click("#pause")
    tab.wait("!now.paused")
    assert tab.problems == []
    own = (server.address, f"ws://127.0.0.1:{server.port}/")
    assert tab.requests
    assert all(request.startswith((*own, "data:")) for request in tab.requests), tab.requests


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_and_one_that_watches_says_so(tab: Tab, server: Server, width: int) -> None:
    with Player(server) as player:
        player.until(lambda head: head["watching"] == 1)
        with player.answering():
            tab.see(width, 844, dark=width < 600)
            tab.open(server.address)
            tab.wait("typeof now !== 'undefined' && now !== null && !drives")
            assert tab.ask("document.documentElement.scrollWidth <= innerWidth")
            assert tab.ask("document.querySelector('#pause').disabled")
            role = "document.getElementById('role').textContent"
            assert "Another page drives; you are next" in tab.ask(role)
    tab.wait("drives && !document.querySelector('#pause').disabled")
    assert tab.problems == []


@needs_browser
def test_a_person_types_text_and_is_told_what_does_not_fit(tab: Tab, tmp_path: Path) -> None:
    with started(*of_tests("tests.serve.painted", "told", str(tmp_path))) as made:
        tab.see(1200, 900)
        tab.open(made.address)
        tab.wait("typeof now !== 'undefined' && now && drives && now.decisions > 2")
        green = """(() => {
            const copy = new OffscreenCanvas(1, 1).getContext("2d");
            copy.drawImage(document.getElementById("model"), 0, 0);
            return copy.getImageData(0, 0, 1, 1).data[1];
        })()"""
        assert tab.ask("document.getElementById('text').value") == "so"
        assert tab.ask(green) == ord("s")
        tab.ask("document.getElementById('text').value = 'go'")
        tab.click("#tell button")
        tab.wait("now.text === 'go'")
        tab.wait(f"{green} === {ord('g')}")
        assert tab.ask("now.decisions") > 2  # it went on
        tab.ask("document.getElementById('text').value = 'far too long for it'")
        tab.click("#tell button")
        words = "document.getElementById('words').textContent"
        assert "19 bytes; this model reads 12" in tab.wait(words)
        pad = "[{connected: true, axes: [-0.5, 0], buttons: []}]"
        tab.ask(f"navigator.getGamepads = () => {pad}")
        tab.wait("now.action[0] === -0.5")
        assert tab.problems == []


@needs_browser
def test_a_person_chooses_among_actions(tab: Tab, tmp_path: Path) -> None:
    with started(*of_tests("tests.serve.painted", "choose", str(tmp_path))) as made:
        tab.see(390, 844)
        tab.open(made.address)
        tab.wait("typeof now !== 'undefined' && now && drives && now.uncertainty > 0")
        tab.wait("now.action.join() === '1,0,0,0'")
        tab.click("#levers button:nth-child(3)")
        tab.wait("now.action.join() === '0,0,1,0'")
        tab.key("keyDown", "2", "Digit2")
        tab.wait("now.action.join() === '0,1,0,0'")
        tab.key("keyUp", "2", "Digit2")
        tab.wait("now.action.join() === '0,0,1,0'")
        assert float(tab.ask("document.getElementById('uncertainty').textContent")) > 0
        assert tab.ask("document.documentElement.scrollWidth <= innerWidth")
        assert tab.problems == []
