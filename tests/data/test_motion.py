from collections import Counter

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data import EpisodeStore, Replay, ReplayConfig, StoreWarning
from reverie.data.motion import FLOOR
from tests.data.rows import ACTION, PROPRIO, equal, record, stored

CAMERAS = {"front": Space((3, 8, 6), "uint8"), "wrist": Space((1, 4, 4), "uint8")}
LENGTH = 5


def filmed(directory, name="store", **options) -> EpisodeStore:
    return EpisodeStore(directory / name, CAMERAS, ACTION, **options)


def replayed(store, motion=1.0, **options) -> Replay:
    settings = {"batch": 64, "length": LENGTH, "context": 0, "online": False, **options}
    return Replay(store, motion=motion, **settings)


def film(target, stream: int, moves, number=0) -> list[dict]:
    """An episode whose row t has moved by `moves[t]` grey levels in one camera, twice that in the
    other."""
    rows, level = [], 20
    for t, move in enumerate(moves):
        level += move
        rows.append(
            {
                "front": np.full((3, 8, 6), level, np.uint8),
                "wrist": np.full((1, 4, 4), 2 * (level % 100), np.uint8),
                "action": np.full(2, stream / 10 + number / 100, np.float32),
                "reward": float(t),
                "first": t == 0,
                "last": t == len(moves) - 1,
                "terminated": False,
            }
        )
        target.append(stream, rows[-1])
    return rows


def moved(rows: list[dict], t: int) -> float:
    """How much row t moved, by definition."""
    if rows[t]["first"]:
        return 0.0
    away = [rows[t][n].astype(float) - rows[t - 1][n].astype(float) for n in CAMERAS]
    return sum(float((x**2).mean()) for x in away) / len(CAMERAS)


def weights(streams: list[list[dict]], power: float, file_rows: int = 1000) -> np.ndarray:
    """w by definition; the first row in a later file of an episode has moved as the next one, or by
    nothing where it is alone there."""
    found = []
    for rows in streams:
        each = [moved(rows, t) for t in range(len(rows))]
        for t, row in enumerate(rows):
            at = int(row["reward"])  # in its episode
            if at and at % file_rows == 0:
                each[t] = 0.0 if row["last"] else moved(rows, t + 1)
        found += [sum(each[t + 1 : t + LENGTH]) for t in range(len(rows) - LENGTH + 1)]
    return (np.array(found) / np.mean(found) + FLOOR) ** power


MOVES = ([0, 3, 0, 0, 9, 0, 0, 0, 0, 0, 0, 2], [0, 0, 0, 1, 1, 1, 5, 0, 0, 30])


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("file_rows", [None, 4])
def test_weights_are_those_of_the_definition(tmp_path, power, file_rows):
    store = filmed(tmp_path, file_rows=file_rows)
    rows = film(store, 0, MOVES[0]) + film(store, 0, MOVES[1], 1)
    other = film(store, 3, MOVES[1])
    store.flush()
    replay = replayed(store, power)
    replay.sample()
    ends = replay.motion._ends([s for _, s in sorted(replay.streams.items())], LENGTH)
    expected = weights([rows, other], power, file_rows or 1000)
    np.testing.assert_allclose(np.diff(ends, prepend=0), expected)


def test_sequences_come_as_often_as_they_weigh(tmp_path):
    store = filmed(tmp_path)
    rows = [film(store, 0, MOVES[0]), film(store, 1, MOVES[1])]
    store.flush()
    count = Counter()
    replay = replayed(store, 1.0, seed=4)
    for _ in range(300):
        batch = replay.sample().batch
        for b in range(len(batch.reward)):
            stream = round(float(batch.action[b, -1, 0]) * 10)
            count[stream, float(batch.reward[b, 1])] += 1
    expected = weights(rows, 1.0)
    expected *= 300 * 64 / expected.sum()
    drawn = [count[s, float(t + 1)] for s in (0, 1) for t in range(len(rows[s]) - LENGTH + 1)]
    assert sum(drawn) == 300 * 64
    assert ((np.array(drawn) - expected) ** 2 / expected).sum() < 35, "13 degrees of freedom"


def test_where_nothing_moves_all_are_alike(tmp_path):
    store = filmed(tmp_path)
    film(store, 0, [0] * 14)
    store.flush()
    replay = replayed(store, 2.0)
    count = Counter(float(r) for _ in range(40) for r in replay.sample().batch.reward[:, 1])
    assert len(count) == 10 and min(count.values()) > 0.7 * 256


def test_rows_that_are_recorded_meanwhile_count(tmp_path):
    growing = replayed(filmed(tmp_path, "one"), capacity=18)
    film(growing, 0, MOVES[0])
    growing.sample()
    film(growing, 1, MOVES[1][:7])
    growing.sample()
    film(growing, 1, MOVES[1], 1)  # the first episode leaves
    growing.sample()
    store = filmed(tmp_path, "two")
    for number, moves in enumerate((MOVES[1][:7], MOVES[1])):
        film(store, 1, moves, number)
    store.flush()
    whole = replayed(store)
    whole.sample()
    streams = [list(r.streams.values())[-1:] for r in (growing, whole)]
    assert growing.rows == whole.rows == 17
    np.testing.assert_array_equal(
        growing.motion._ends(streams[0], LENGTH), whole.motion._ends(streams[1], LENGTH)
    )


def test_it_goes_on_exactly(tmp_path):
    replay = replayed(filmed(tmp_path), batch=4)
    film(replay, 0, MOVES[0])
    film(replay, 1, MOVES[1][:-1])  # and is open
    replay.sample()
    replay.save(tmp_path / "saved")
    after = [replay.sample() for _ in range(5)]
    again = replayed(EpisodeStore.open(tmp_path / "store"), batch=4)
    again.load(tmp_path / "saved")
    assert all(equal(again.sample(), sample) for sample in after)


def test_a_damaged_file_is_left_out(tmp_path):
    store = filmed(tmp_path)
    film(store, 0, MOVES[0])
    film(store, 1, MOVES[1])
    store.flush()
    del store
    path = next((tmp_path / "store").rglob("0000-*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-3] ^= 255
    path.write_bytes(content)
    replay = replayed(EpisodeStore.open(tmp_path / "store"))
    with pytest.warns(StoreWarning):
        batch = replay.sample().batch
    assert (batch.action[:, -1, 0] > 0.05).all()


def test_without_pictures_it_says_so(tmp_path):
    store = stored(tmp_path, PROPRIO)
    record(store, 0, 0, 20)
    with pytest.raises(ValueError, match=r"motion 1.0.*no pictures.*pose.*Give motion 0"):
        replayed(store)


@pytest.mark.parametrize("motion", [-1.0, float("nan"), float("inf")])
def test_a_power_is_not_negative(motion):
    with pytest.raises(ValueError, match="replay motion"):
        ReplayConfig(motion=motion)
