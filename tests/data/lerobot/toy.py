"""A robot with every kind of sensor, and rows that are a function of where they stand."""

from __future__ import annotations

import numpy as np

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo, open_dataset
from reverie.data.lerobot.encode import FilmConfig
from reverie.data.lerobot.frames import robot_of
from reverie.data.lerobot.listing import SizeConfig
from reverie.data.lerobot.take import Take
from reverie.data.lerobot.writer import LeRobotWriter

ACTION = Space((2,), low=-1, high=1)
ABOUT = ActionInfo("delta", "base", ("x", "y"))
POSE = {"pose": Space((3,), low=-2, high=(1.0, 2.0, 3.0), unit="rad")}
OBS = {
    **POSE,
    "height": Space(()),
    "precise": Space((2,), "float64"),
    "count": Space((), "int64"),
    "touch": Space((4,), "bool"),
    "map": Space((2, 3)),
    "layers": Space((4, 3, 2), "uint8"),
}
SEEN = {**POSE, "front": Space((3, 32, 48), "uint8"), "grey": Space((1, 16, 32), "uint8")}
DT = 0.05
H264 = FilmConfig("h264")


def picture(shape, number):
    """A gradient that a codec hardly changes; its mean tells the number."""
    channels, height, width = shape
    y, x = np.mgrid[:height, :width]
    planes = [30 + 3 * number + y // 2 + x // 4 + 4 * c for c in range(channels)]
    return np.stack(planes).astype(np.uint8)


def value(space, number, *seed):
    if space.is_image and space.shape[0] in (1, 3):
        return picture(space.shape, number)
    rng = np.random.default_rng((number, *seed))
    if space.dtype.startswith("float"):
        return rng.standard_normal(space.shape).astype(space.dtype)
    high = {"uint8": 256, "int64": 2**60, "bool": 2}[space.dtype]
    return rng.integers(0, high, space.shape).astype(space.dtype)


def row(obs, number, t, length):
    """Row t of episode `number`."""
    code = (10 * number + t) % 50
    return {
        **{n: value(s, code, number, i) for i, (n, s) in enumerate(obs.items())},
        "action": value(ACTION, t, number, 98) if t else np.zeros(2, np.float32),
        "reward": np.float32(t + number / 8 if t else 0),
        "first": t == 0,
        "last": t == length - 1,
        "terminated": t == length - 1 and number % 2 == 1,
    }


def rows(obs, number, length):
    return [row(obs, number, t, length) for t in range(length)]


def robot(obs=OBS, video=True, dt=DT):
    return robot_of(obs, ACTION, dt, ABOUT, "toy", video)


def writer(directory, obs=OBS, **options):
    options = {"dt": DT, "about": ABOUT, "robot": "toy", "codec": "h264", **options}
    return LeRobotWriter(directory, obs, ACTION, **options)


def record(target, number, length, stream=0, **words):
    for each in rows(target.robot.schema.obs, number, length):
        target.append(stream, each, **words)


def finished(robot, folder, number, length, task="wave"):
    """An episode that is ready to be written."""
    take = Take(robot, folder / f"{number}-{length}", H264, task)
    for each in rows(robot.schema.obs, number, length):
        take.add(robot.schema.check_row(each))
        take.terminated = each["terminated"]
    return take.finish()


SMALL = SizeConfig(data_mb=0.001, video_mb=0.004, episodes=3, per_chunk=2)


def same(found, expected, levels=6):
    """Fail unless what was read are these rows: numbers exactly, pictures nearly."""
    assert len(found["first"]) == len(expected)
    for name, values in found.items():
        wanted = np.stack([np.asarray(each[name]) for each in expected])
        if values.dtype == np.uint8 and levels and values.ndim == 4 and values.shape[1] != 4:
            assert np.abs(values.astype(int) - wanted).mean((1, 2, 3)).max() < levels, name
        else:
            assert values.shape == wanted.shape, name
            assert np.array_equal(values, wanted.astype(values.dtype)), name


def read(directory):
    """Every episode: (task, rows)."""
    dataset = open_dataset(directory, "lerobot")
    found = [(each.task, dataset.read(each.name)) for each in dataset.episodes()]
    dataset.close()
    return found
