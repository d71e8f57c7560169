"""A scenario in the browser: its solution played again and again, or a person at the controls.

    reverie scenario view push.json

Legend: `T` decisions, `A` action.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from reverie.models.physics.scenarios import Scenario
from reverie.physics.picture import items, marked
from reverie.recipes.scenarios import Playground, playground, solution
from reverie.viz.live import LOOPBACK, Stage

SOLUTION, SLIDERS, NOTHING = "the solution", "sliders", "nothing"
AXES = ("x", "y", "z", "roll", "pitch", "yaw")
RESTART = "Begin anew"


def levers(made: Playground) -> tuple[str, ...]:
    """What each entry of an action moves, by name `[A]`."""
    world = made.scene.world
    names = [a.name for a in world.robot.model.actuators] if world.robot is not None else []
    if world.hands is None:
        return tuple(names)
    entries = AXES[: 6 if world.hands.spin else 3] + (("grip",) if world.grips else ())
    hands = range(len(world.hands.shapes))
    return (*names, *(f"hand {h} {entry}" for h in hands for entry in entries))


class Live:
    """A scenario that goes on, decision by decision, and what the person at the page wants."""

    def __init__(self, name: str | Path | Scenario, port: int = 8080, host: str = LOOPBACK) -> None:
        """Build it, and serve the page."""
        self.made = playground(name)
        self.plan = solution(self.made)
        camera = self.made.viewer(256, 256).camera
        title = self.made.scenario.name
        self.stage = Stage(title, host=host, port=port, eye=camera.position, target=camera.target)
        gui = self.stage.server.gui
        self.control = gui.add_dropdown(
            "Moved by",
            (SOLUTION, SLIDERS, NOTHING) if self.plan is not None else (SLIDERS, NOTHING),
        )
        self.paused = gui.add_checkbox("Paused", False)
        self.speed = gui.add_slider("Speed", 0.1, 2.0, 0.1, 1.0)
        self.again = gui.add_button(RESTART)
        self.words = gui.add_markdown("")
        with gui.add_folder("Sliders"):
            self.sliders = [gui.add_slider(n, -1.0, 1.0, 0.01, 0.0) for n in levers(self.made)]
        self.clicked = threading.Event()
        self.again.on_click(lambda _: self.clicked.set())  # in a thread of the page's own
        self.begin()

    def begin(self) -> None:
        """Begin the episode anew."""
        self.state, self.age, self.total = self.made.begin(1), 0, 0.0
        self._show()

    def action(self) -> Tensor:
        """`[A]`, as it is chosen now."""
        if self.control.value == SOLUTION and self.plan is not None:
            return self.plan[min(self.age, len(self.plan) - 1)]
        if self.control.value == SLIDERS:
            return torch.tensor([float(slider.value) for slider in self.sliders])
        return torch.zeros(self.made.model.spec.action.size)

    @torch.no_grad()
    def tick(self) -> None:
        """One decision, and its picture; an episode that is over, or was asked to, begins anew."""
        if self.clicked.is_set():
            self.clicked.clear()
            self.begin()
        if self.paused.value:
            return
        if self.age >= self.made.scene.limit:
            self.begin()
        step = self.made.model.step(self.state, self.action()[None, None], ())
        self.state, self.age = step.state, self.age + 1
        assert step.reward is not None
        self.total += float(step.reward)
        self._show()

    def run(self, seconds: float = 0.0, told: Callable[[str], None] = lambda words: None) -> None:
        """Go on in the world's own time, until interrupted or for so long; `told` hears where."""
        told(self.stage.url)
        begun = due = time.perf_counter()
        try:
            while not 0 < seconds < time.perf_counter() - begun:
                self.tick()
                due += self.made.model.spec.dt / self.speed.value
                time.sleep(max(0.0, due - time.perf_counter()))
                due = max(due, time.perf_counter() - 0.2)  # what was late is not made up for
        finally:
            self.stage.close()

    def _show(self) -> None:
        world = self.made.scene.world
        things = items(world, self.state.world, 0)
        places = self.made.places(self.state)
        if places is not None:
            things.append(marked(places[0], self.made.viewer(256, 256).camera))
        self.stage.show(things)
        done = "**done**" if bool(self.made.success(self.state)[0]) else "not done"
        self.words.content = (
            f"{self.age * self.made.model.spec.dt:.2f} s, return {self.total:.2f}, {done}"
        )
