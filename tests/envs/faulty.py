"""Environments that misbehave on purpose; in a module, so that workers can import them."""

import os
import signal

import numpy as np

from reverie.core.spec import Space
from reverie.envs import Row


class Counter:
    """Observes the decision number; ends (truncated) after `length` decisions."""

    name = "test:counter"
    obs = {"count": Space((2,))}
    action = Space((1,), low=-1.0, high=1.0)
    dt = 0.1
    repeat = 1
    repeatable = True

    def __init__(self, length=5):
        self.length = length
        self.decision = 0

    def reset(self, seed):
        self.decision = 0
        self.seed = seed
        return self.row(0.0, True)

    def step(self, action):
        self.decision += 1
        return self.row(float(action[0]), False)

    def row(self, reward, first):
        obs = {"count": np.array([self.decision, self.seed % 97], np.float32)}
        return Row(obs, reward, first, self.decision >= self.length, False)

    def render(self, height=240, width=320):
        return np.full((height, width, 3), self.decision, np.uint8)

    def close(self):
        pass


class NotANumber(Counter):
    """Its third observation is NaN."""

    def row(self, reward, first):
        row = super().row(reward, first)
        if self.decision == 3:
            row.obs["count"][1] = np.nan
        return row


class Raises(Counter):
    """Divides by zero at the second decision."""

    def step(self, action):
        if self.decision == 1:
            self.deep()
        return super().step(action)

    def deep(self):
        return 1 / 0


class Interrupted(Counter):
    """Ctrl-C arrives in its second decision."""

    def step(self, action):
        if self.decision == 1:
            raise KeyboardInterrupt
        return super().step(action)


class Suicidal(Counter):
    """Its process is killed at the second decision, as the kernel does when memory is short."""

    def step(self, action):
        if self.decision == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class Unrepeatable(Counter):
    """Claims to be repeatable and is not: it counts its resets."""

    resets = 0

    def reset(self, seed):
        Unrepeatable.resets += 1
        return super().reset(seed + Unrepeatable.resets)


class Robot(Counter):
    """Honest about it."""

    repeatable = False


class Blinking(Counter):
    """A camera that is missing in odd rows."""

    def row(self, reward, first):
        row = super().row(reward, first)
        row.obs["count.present"] = np.array(self.decision % 2 == 0)
        return row


def dies_at_start():
    os.kill(os.getpid(), signal.SIGKILL)


def missing_extra():
    raise ModuleNotFoundError('this needs pip install "reverie[dmc]"')


class PeculiarError(Exception):
    """Cannot be built from its text alone."""

    def __init__(self, number, what):
        super().__init__(f"{number} is {what}")


class Peculiar(Counter):
    """Raises it."""

    def reset(self, seed):
        raise PeculiarError(7, "odd")
