import os
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.core.model import Batch
from reverie.data import EpisodeStore, Replay, ReplayConfig, StoreWarning
from tests.data.rows import LATENT, PROPRIO, SENSORS, episode, equal, latent, record, same, stored


def replayed(directory, obs=PROPRIO, store=None, **options) -> Replay:
    settings_ = {"batch": 4, "length": 8, "latent": LATENT, **options}
    return Replay(store or stored(directory, obs), **settings_)


class Known:
    """Every row that was recorded, to recognise it in a batch."""

    def __init__(self, replay: Replay) -> None:
        self.rows: dict[bytes, tuple[int, int, int, int]] = {}
        self.truth: dict[tuple[int, int], list[dict]] = {}
        self.replay = replay
        self.count: Counter[int] = Counter()

    def record(self, stream: int, number: int, length: int, stop: int | None = None) -> None:
        record(self.replay, stream, number, length, stop)
        rows = episode(self.replay.store.schema.obs, stream, number, length)[:stop]
        for t, row in enumerate(rows):
            place = (stream, number, t, self.count[stream])
            self.rows[np.asarray(row["pose"]).tobytes()] = place
            self.count[stream] += 1
        self.truth[stream, number] = rows

    def places(self, batch: Batch, b: int) -> list[tuple[int, int, int, int]]:
        """(stream, episode, row, position in the stream) of each row of a sequence."""
        return [self.rows[pose.numpy().tobytes()] for pose in batch.obs["pose"][b]]

    def check(self, batch: Batch) -> None:
        """Fail unless every sequence is consecutive rows of one stream, bit by bit."""
        for b in range(len(batch.reward)):
            places = self.places(batch, b)
            assert {p[0] for p in places} == {places[0][0]}
            assert [p[3] for p in places] == [places[0][3] + i for i in range(len(places))]
            read = {**{n: v[b].numpy() for n, v in batch.obs.items()}}
            read.update({n: getattr(batch, n)[b].numpy() for n in Batch._fields[1:]})
            same(read, [self.truth[p[0], p[1]][p[2]] for p in places])


def test_a_sample_is_a_batch_of_the_core(tmp_path):
    replay = replayed(tmp_path, SENSORS)
    record(replay, 0, 0, 40)
    sample = replay.sample()
    assert isinstance(sample.batch, Batch)
    assert set(sample.batch.obs) == set(SENSORS), "no presence where every sensor is always there"
    for name, space in SENSORS.items():
        value = sample.batch.obs[name]
        assert value.shape == (4, 8, *space.shape) and value.dtype == space.torch_dtype
    assert sample.batch.action.shape == (4, 8, 2) and sample.batch.action.dtype == torch.float32
    assert sample.batch.reward.shape == (4, 8) and sample.batch.reward.dtype == torch.float32
    for name in ("first", "last", "terminated"):
        assert getattr(sample.batch, name).dtype == torch.bool
    assert {n: v.shape for n, v in sample.state.items()} == {"deter": (4, 5), "stoch": (4, 6)}


def test_presence_comes_with_optional_sensors(tmp_path):
    replay = replayed(tmp_path, store=stored(tmp_path, PROPRIO, optional=["pose"]))
    for t, row in enumerate(episode(PROPRIO, 0, 0, 20)):
        replay.append(0, {**row, "pose.present": t % 2 == 0})
    obs = replay.sample().batch.obs
    assert set(obs) == {"pose", "pose.present", "height"}
    assert obs["pose.present"].shape == (4, 8)
    assert torch.equal(obs["pose.present"], obs["pose"].any(-1))


@settings(max_examples=12)
@given(
    plan=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 25)), min_size=3, max_size=12),
    file_rows=st.integers(4, 30),
    online=st.booleans(),
    open_rows=st.integers(0, 12),
)
def test_sequences_are_consecutive_rows_of_one_stream(
    tmp_path_factory, plan, file_rows, online, open_rows
):
    directory = tmp_path_factory.mktemp("replay")
    replay = replayed(directory, store=stored(directory, file_rows=file_rows), online=online)
    known, numbers = Known(replay), Counter()
    known.record(0, 0, 20)
    numbers[0] = 1
    for stream, length in plan:
        known.record(stream, numbers[stream], length)
        numbers[stream] += 1
    if open_rows:
        known.record(1, numbers[1], 30, stop=open_rows)
    for _ in range(6):
        known.check(replay.sample().batch)


def test_pictures_and_depth_are_sampled_bit_by_bit(tmp_path):
    replay = replayed(tmp_path, SENSORS)
    known = Known(replay)
    for number in range(3):
        known.record(0, number, 37)
    known.record(1, 0, 60, stop=55)
    for _ in range(10):
        known.check(replay.sample().batch)


def test_every_start_is_equally_likely(tmp_path):
    replay = replayed(tmp_path, batch=50, online=False, store=stored(tmp_path, file_rows=7))
    known = Known(replay)
    known.record(0, 0, 10)
    known.record(0, 1, 20)
    known.record(1, 0, 15)
    known.record(2, 0, 5)  # too short
    starts = Counter()
    for _ in range(150):
        batch = replay.sample().batch
        for b in range(50):
            stream, _, _, position = known.places(batch, b)[0]
            starts[stream, position] += 1
    possible = [(0, p) for p in range(30 - 7)] + [(1, p) for p in range(15 - 7)]
    assert set(starts) == set(possible)
    expected = 150 * 50 / len(possible)
    assert all(abs(n - expected) < 5 * expected**0.5 for n in starts.values())


def test_sequences_run_over_the_ends_of_episodes(tmp_path):
    replay = replayed(tmp_path, batch=32, online=False)
    for number in range(4):
        record(replay, 0, number, 9)
    batch = replay.sample().batch
    assert batch.first[:, 1:].any(), "an episode begins inside a sequence"
    begins = batch.first[:, 1:]
    assert torch.equal(begins, batch.last[:, :-1])
    assert not batch.reward[batch.first].any() and not batch.action[batch.first].any()


def test_fresh_sequences_come_once_and_first(tmp_path):
    replay = replayed(tmp_path, batch=3)
    known = Known(replay)
    for number in range(3):  # 36 and 21 rows: 4 and 2 whole sequences of 8
        known.record(0, number, 12)
        known.record(1, number, 7)
    fresh = []
    for _ in range(2):
        batch = replay.sample().batch
        fresh += [(p[0], p[3]) for p in (known.places(batch, b)[0] for b in range(3))]
    assert sorted(fresh) == [(0, 0), (0, 8), (0, 16), (0, 24), (1, 0), (1, 8)]
    assert not replay.queue
    known.record(1, 3, 3)  # the third of stream 1 is whole now
    batch = replay.sample().batch
    assert (known.places(batch, 0)[0][0], known.places(batch, 0)[0][3]) == (1, 16)
    known.check(batch)


def test_the_same_seed_gives_the_same_samples(tmp_path):
    samples = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        replay = replayed(tmp_path / name, seed=seed, online=False)
        record(replay, 0, 0, 200)
        torch.rand(1)  # of no consequence
        samples.append([replay.sample() for _ in range(3)])
    assert all(equal(x, y) for x, y in zip(samples[0], samples[1], strict=True))
    assert not all(equal(x, y) for x, y in zip(samples[0], samples[2], strict=True))


def test_too_little_is_said(tmp_path):
    replay = replayed(tmp_path)
    record(replay, 0, 0, 5)
    record(replay, 1, 0, 7)
    assert not replay.ready
    with pytest.raises(ValueError, match=r"8 consecutive rows.*2 streams has 7"):
        replay.sample()
    record(replay, 1, 1, 3)
    assert replay.ready and replay.rows == 15
    replay.sample()


@pytest.mark.parametrize("delete", [False, True])
def test_the_oldest_episodes_leave(tmp_path, delete):
    replay = replayed(tmp_path, capacity=100, delete=delete, online=False)
    known = Known(replay)
    for number in range(15):
        known.record(number % 2, number // 2, 20)
        assert replay.rows <= 100
    seen = Counter()
    for _ in range(30):
        batch = replay.sample().batch
        known.check(batch)
        seen.update(known.places(batch, b)[i][:2] for b in range(4) for i in range(8))
    assert set(seen) == {(0, 5), (0, 6), (0, 7), (1, 5), (1, 6)}
    assert len(list(tmp_path.glob("0*"))) == (5 if delete else 15)


def test_an_open_episode_does_not_leave(tmp_path):
    replay = replayed(tmp_path, capacity=30)
    record(replay, 0, 0, 50, stop=40)
    assert replay.rows == 40
    record(replay, 1, 0, 10)
    assert replay.rows == 40, "the finished one goes, the open one stays"


def test_recorded_episodes_alone(tmp_path):
    with stored(tmp_path) as store:
        for number in range(5):
            record(store, number % 2, number // 2, 20)
    files = sorted(tmp_path.iterdir())
    replay = replayed(tmp_path, store=EpisodeStore.open(tmp_path))
    sample = replay.sample()
    assert replay.rows == 100 and not sample.known.any()
    replay.write_back(sample.ids, {"deter": torch.ones(4, 8, 5), "stoch": torch.ones(4, 8, 6)})
    assert any(replay.sample().known.any() for _ in range(20))
    assert sorted(tmp_path.iterdir()) == files, "a store open to read is left as it is"


def test_a_replay_takes_in_what_its_store_holds(tmp_path):
    with stored(tmp_path) as store:
        record(store, 0, 0, 20)
    replay = replayed(tmp_path)
    assert replay.rows == 20
    record(replay, 0, 1, 10)
    assert replay.rows == 30
    assert replayed(tmp_path, fresh=True).rows == 0


def test_the_state_is_the_latent_of_the_row_before(tmp_path):
    replay = replayed(tmp_path, batch=16, online=False, store=stored(tmp_path, file_rows=6))
    known = Known(replay)
    for number in range(3):
        known.record(0, number, 15)
    met = set()
    for _ in range(10):
        sample = replay.sample()
        for b in range(16):
            stream, number, t, _ = known.places(sample.batch, b)[0]
            met.add(t)
            assert bool(sample.known[b]) == (t > 0)
            expected = latent(stream, number, t - 1) if t > 0 else None
            for name, value in sample.state.items():
                right = expected[name] if expected else np.zeros(value.shape[1:], np.float32)
                assert np.array_equal(value[b], right)
    assert met >= {0, 1, 6, 7}, "at the beginning, inside, and where a file begins"


def test_rows_without_a_latent_are_not_known(tmp_path):
    replay = replayed(tmp_path)
    for row in episode(PROPRIO, 0, 0, 30):
        replay.append(0, row)
    sample = replay.sample()
    assert not sample.known.any()
    assert not any(value.any() for value in sample.state.values())


def test_what_is_written_back_is_the_next_state(tmp_path):
    replay = replayed(tmp_path, batch=8, online=False, store=stored(tmp_path, file_rows=6))
    known = Known(replay)
    for number in range(3):
        known.record(0, number, 15)
    written: dict[tuple[int, int], float] = {}
    for turn in range(1, 30):
        sample = replay.sample()
        for b in range(8):
            _, number, t, _ = known.places(sample.batch, b)[0]
            if t > 0:
                expected = written.get((number, t - 1), float(latent(0, number, t - 1)["deter"][0]))
                assert (sample.state["deter"][b] == expected).all()
                assert (sample.state["stoch"][b] == -expected).all()
        values = turn * 64 + torch.arange(64.0).reshape(8, 8, 1)
        for b in range(8):
            for i, (_, number, t, _) in enumerate(known.places(sample.batch, b)):
                written[number, t] = float(values[b, i])
        values.requires_grad_()
        replay.write_back(
            sample.ids, {"deter": values.expand(8, 8, 5), "stoch": -values.expand(8, 8, 6)}
        )


def test_writing_back_to_rows_that_left_changes_nothing(tmp_path):
    replay = replayed(tmp_path, capacity=40)
    record(replay, 0, 0, 20)
    for number in range(1, 40, 2):
        sample = replay.sample()
        record(replay, 0, number, 20)
        record(replay, 0, number + 1, 20)
        replay.write_back(
            sample.ids, {"deter": torch.full((4, 8, 5), 9.0), "stoch": torch.zeros(4, 8, 6)}
        )
        assert not (replay.sample().state["deter"] == 9).any()
    rows = os.fstat(replay.latents._file.descriptor).st_size / replay.latents.width
    assert rows <= 4 * 64, "the disk holds latents of the two or three episodes that are left"


def test_without_context_there_is_no_state(tmp_path):
    for name, options in (("a", {"context": 0}), ("b", {"latent": None})):
        replay = replayed(tmp_path / name, **options)
        record(replay, 0, 0, 20)
        sample = replay.sample()
        assert sample.state == () and not sample.known.any()
        replay.write_back(sample.ids, {"deter": torch.ones(4, 8, 5)})
        assert not (tmp_path / name / "latents").exists()


def test_latents_that_do_not_fit_are_refused_before_the_row_is_taken(tmp_path):
    replay = replayed(tmp_path)
    row = episode(PROPRIO, 0, 0, 9)[0]
    with pytest.raises(ValueError, match="'deter' has a value that is not finite"):
        replay.append(0, row, {**latent(0, 0, 0), "deter": np.full(5, np.nan, np.float32)})
    replay.append(0, row, latent(0, 0, 0))
    assert replay.rows == 1


def damage(path):
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)


def test_a_file_that_breaks_while_sampling_is_set_aside(tmp_path):
    with stored(tmp_path, SENSORS) as store:
        for number in range(4):
            record(store, 0, number, 20)
    damage(tmp_path / "0000-00000002-0000.safetensors")
    replay = replayed(tmp_path, SENSORS)
    seen = Counter()
    with pytest.warns(StoreWarning, match=r"0000-00000002-0000\.safetensors.*does not match"):
        for _ in range(20):
            seen.update((replay.sample().batch.reward.int() // 100).flatten().tolist())
    assert seen[2] == 0 and seen[1] and seen[3] and replay.rows == 60
    assert (tmp_path / "set_aside" / "0000-00000002-0000.safetensors").exists()


def test_rows_at_both_sides_of_a_gap_are_ends(tmp_path):
    with stored(tmp_path, file_rows=10) as store:
        record(store, 0, 0, 30)
    (tmp_path / "0000-00000000-0001.safetensors").unlink()
    replay = replayed(tmp_path, batch=64, length=6, online=False)
    batch = replay.sample().batch
    crossing = (batch.reward[:, :-1] == 9) & (batch.last[:, :-1])
    assert crossing.any()
    after = torch.nonzero(crossing)
    for b, t in after.tolist():
        assert batch.first[b, t + 1] and batch.reward[b, t + 1] == 0
        assert not batch.action[b, t + 1].any() and not batch.terminated[b, t]
        if t + 2 < 6:
            assert batch.reward[b, t + 2] == 21
    assert not batch.first[batch.reward == 20].any(), "a sequence may begin there as anywhere"
    names = [(e.name, e.rows, e.complete) for e in replay.store.episodes()]
    assert names == [("0000-00000000", 10, False), ("0000-00000000-0002", 10, False)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch 0"),
        ({"context": 2}, "context is 2"),
        ({"capacity": 5}, "capacity is 5 rows"),
        ({"precision": "int8"}, "'int8'"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ReplayConfig(**options)


def test_the_config_builds_the_replay(tmp_path):
    config = ReplayConfig(batch=2, length=3, capacity=50, online=False)
    replay = config.build(stored(tmp_path), seed=1, latent=LATENT)
    assert replay.config == config
    record(replay, 0, 0, 10)
    assert replay.sample().batch.reward.shape == (2, 3)
