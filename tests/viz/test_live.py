"""A scene in a real browser, and what is sent to it when things move, come and go."""

import shutil
import subprocess
import tempfile
import time
import urllib.request

import numpy as np
import pytest

from reverie.physics.shapes import Balls, Ground, box, place
from reverie.viz.live import Stage

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), "")


@pytest.fixture
def stage():
    pytest.importorskip("viser")
    made = Stage("test", port=18080)
    yield made
    made.close()


def handles(stage):
    return {name: handle for name, (_, handle) in stage._shown.items()}


def test_what_only_moves_keeps_its_place_in_the_scene(stage):
    def things(x):
        return [Ground(), place(box(), (x, 0, 0)), Balls(np.full((5, 3), x), 0.1)]

    stage.show(things(0.0))
    before = handles(stage)
    stage.show(things(2.0))
    after = handles(stage)
    assert all(after[name] is before[name] for name in before) and len(after) == 3
    assert np.allclose(after["/mesh1"].vertices.mean(0), [2, 0, 0], atol=1e-6)
    assert np.allclose(after["/balls2"].points, 2.0)


def test_what_changes_is_made_anew_and_what_is_gone_goes(stage):
    stage.show([box(), Balls(np.zeros((5, 3)), 0.1), Balls(np.ones((2, 3)), 0.1)])
    before = handles(stage)
    stage.show([box(), Balls(np.zeros((6, 3)), 0.1)])
    after = handles(stage)
    assert set(after) == {"/mesh0", "/balls1"}
    assert after["/mesh0"] is before["/mesh0"] and after["/balls1"] is not before["/balls1"]


def test_the_page_is_served_to_this_machine_alone_without_a_word(stage, capfd):
    page = urllib.request.urlopen(stage.url, timeout=10).read()
    assert b"<html" in page and stage.url.startswith("http://127.0.0.1:")
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_a_real_browser_looks_on(stage):
    stage.show([Ground(), box()])
    flags = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader"]
    flags += ["--enable-unsafe-swiftshader", "--remote-debugging-port=0"]
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen(
            [CHROMIUM, *flags, f"--user-data-dir={profile}", stage.url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 60
            while not stage.clients and time.monotonic() < until:
                time.sleep(0.2)
            assert stage.clients == 1
        finally:
            browser.kill()
            browser.wait()
            time.sleep(0.5)  # its children still write to the profile
