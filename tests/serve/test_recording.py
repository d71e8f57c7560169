"""What is kept of a game: films that players can read, and a dataset that says what it is."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from reverie.data.check import check
from reverie.data.datasets import ActionInfo, open_dataset
from reverie.serve.recording import Recorder, Recording, Saved, beside
from reverie.serve.session import Moment, Session
from tests.serve.painter import session


def config(folder: Path, played: Session) -> Recording:
    return Recording(
        folder,
        "generated: painter",
        played.recordable,
        played.spec.action,
        played.spec.dt,
        played.frame_time,
        ActionInfo(low=(-2.0,), high=(2.0,)),
    )


def take(recorder: Recorder, played: Session, steps: int, text: str = "") -> list[Moment]:
    moments = []
    for k in range(steps):
        moments += played.advance(np.float32([0.5 - 0.3 * (k % 3)]))
        recorder.add(moments[-1], text)
    return moments


@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_a_film_has_every_frame_at_the_worlds_pace(tmp_path: Path, form: str) -> None:
    played, saved = session(beside=True), list[Saved]()
    now = played.begin(0)
    recorder = Recorder(config(tmp_path, played), saved.append)
    recorder.start(form, False, now, "")
    take(recorder, played, 19)
    recorder.close()
    ((name, frames, _),) = saved
    assert frames == 20
    assert [p.name for p in tmp_path.iterdir()] == [name]  # nothing half-made is left
    if form == "gif":
        with Image.open(tmp_path / name) as film:
            assert film.n_frames == 20
            assert film.info["duration"] == 50
    else:
        with av.open(str(tmp_path / name)) as film:
            pictures = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
            assert float(film.streams.video[0].average_rate) == pytest.approx(20)
        assert len(pictures) == 20
        height, width = pictures[0].shape[:2]
        assert (height, width) == (256, 24 * 32)  # 10 + 4 + 10 pixels, enlarged 32 times
        red = pictures[-1][128, 64, 0]
        assert abs(int(red) - int(played.last.picture[4, 2, 0])) < 12
    played.close()


def test_the_dataset_is_marked_and_holds_what_was_played(tmp_path: Path) -> None:
    played, saved = session(text="go"), list[Saved]()
    now = played.begin(0)
    played.advance(np.ones(1, np.float32))
    recorder = Recorder(config(tmp_path, played), saved.append)
    recorder.start("", True, played.last, "go")  # half-way: it begins an episode there
    first = take(recorder, played, 5, "go")
    recorder.add(played.begin(1), "stop")
    second = take(recorder, played, 3, "stop")
    recorder.close()
    assert now.first
    assert "2 episodes" in saved[0].words
    dataset = open_dataset(tmp_path / "dataset")
    assert dataset.about.source == "generated: painter"
    assert dataset.about.dt == 0.05
    assert dataset.about.action.high == (2.0,)
    episodes = dataset.episodes()
    assert [(e.rows, e.task) for e in episodes] == [(6, "go"), (4, "stop")]
    for episode, moments in zip(episodes, (first, second), strict=True):
        rows = dataset.read(episode.name)
        np.testing.assert_array_equal(rows["action"][1:], [m.action for m in moments])
        np.testing.assert_allclose(rows["reward"][1:], [m.reward for m in moments])
        assert rows["first"].tolist() == [True] + [False] * len(moments)
        shown = np.stack([np.moveaxis(m.picture, -1, 0) for m in moments]).astype(float)
        assert np.abs(rows["image"][1:] - shown).mean() < 8  # AV1
    assert check(dataset).ok
    dataset.close()
    played.close()


def test_recordings_add_up_in_one_dataset(tmp_path: Path) -> None:
    played, saved = session(), list[Saved]()
    now = played.begin(0)
    recorder = Recorder(config(tmp_path, played), saved.append)
    for _ in range(2):
        recorder.start("mp4", True, now, "")
        take(recorder, played, 4)
        recorder.stop()
    recorder.close()
    names = {s.name for s in saved}
    assert len(names) == 2
    assert {p.name for p in tmp_path.glob("*.mp4")} == names
    assert len(open_dataset(tmp_path / "dataset").episodes()) == 2
    played.close()


def test_what_cannot_be_written_is_told_and_the_next_is_written(tmp_path: Path) -> None:
    played, saved = session(), list[Saved]()
    now = played.begin(0)
    (tmp_path / "play").write_text("in the way")
    recorder = Recorder(config(tmp_path / "play", played), saved.append)
    recorder.start("mp4", False, now, "")
    take(recorder, played, 3)
    recorder.stop()
    recorder.close()
    assert "The recording failed" in saved[0].words
    (tmp_path / "play").unlink()
    recorder.start("mp4", False, now, "")
    recorder.close()
    assert saved[1].name
    played.close()


def test_pictures_of_two_heights_go_side_by_side() -> None:
    one, other = np.zeros((4, 6, 3), np.uint8), np.full((8, 16, 3), 200, np.uint8)
    both = beside(one, other)
    assert both.shape == (4, 6 + 4 + 8, 3)
    assert (both[:, 10:] == 200).all()
    assert beside(one, None) is one
