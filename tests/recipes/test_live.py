"""A scenario in the browser: who moves it, and what the page says."""

from types import SimpleNamespace

import pytest
import torch

from reverie.models.physics.scenarios import KINDS
from reverie.recipes import live as module
from reverie.recipes.live import NOTHING, SLIDERS, Live, levers
from reverie.recipes.scenarios import playground

pytest.importorskip("viser")


@pytest.fixture
def live():
    made = Live("reach-1", port=18180)
    yield made
    made.stage.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_an_action_has_a_name(kind):
    made = playground(kind)
    names = levers(made)
    assert len(names) == len(set(names)) == made.model.spec.action.size


def test_a_person_moves_it_by_the_sliders(live):
    live.control.value = SLIDERS
    live.sliders[0].value = 0.8
    assert live.action().tolist() == pytest.approx([0.8, 0, 0, 0])
    before = live.state.world.robot.position.clone()
    live.tick()
    assert not torch.equal(before, live.state.world.robot.position)
    assert "0.04 s" in live.words.content and "not done" in live.words.content


def test_nothing_moves_while_it_is_paused_and_it_begins_anew(live):
    live.control.value = NOTHING
    live.tick()
    live.paused.value = True
    live.tick()
    assert live.age == 1
    live.clicked.set()  # as the button does
    live.tick()
    assert live.age == 0 and live.total == 0
    live.paused.value = False
    live.age = live.made.scene.limit
    live.tick()
    assert live.age == 1


@pytest.mark.parametrize(("takes", "decisions"), [(0.01, 15), (0.1, 6)])
def test_it_goes_at_the_speed_of_the_world_and_then_stops(monkeypatch, takes, decisions):
    """25 decisions a second; or as many as there is time for."""
    live = Live("reach-1", port=18280)
    live.control.value = NOTHING
    watch, tick = {"now": 0.0}, live.tick

    def passes(seconds):
        watch["now"] += seconds

    def slow():
        tick()
        passes(takes)

    monkeypatch.setattr(live, "tick", slow)
    clock = SimpleNamespace(perf_counter=lambda: watch["now"], sleep=passes)
    monkeypatch.setattr(module, "time", clock)
    heard = []
    live.run(0.59, heard.append)
    assert heard == [live.stage.url]
    assert live.age == decisions
