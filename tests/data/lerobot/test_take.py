import io

import numpy as np
import pytest
from PIL import Image

from reverie.data.lerobot.take import Spool, Take
from tests.data.lerobot.toy import H264, OBS, SEEN, finished, picture, robot, rows


def test_a_spool_gives_back_the_pieces(tmp_path):
    spool = Spool(tmp_path / "a")
    pieces = [b"one", b"", b"three", b"4"]
    for piece in pieces:
        spool.add(piece)
    spool.seal()
    assert spool.read(0, 4) == pieces
    assert spool.read(1, 3) == pieces[1:3]
    assert spool.read(2, 2) == []
    (tmp_path / "a").write_bytes(b"onethr")
    with pytest.raises(OSError, match="was cut"):
        spool.read(2, 4)


def test_an_episode_has_its_rows_as_frames(tmp_path):
    toy = robot()
    episode = finished(toy, tmp_path, 1, 6)
    expected = rows(OBS, 1, 6)
    for name, key in toy.keys.items():
        wanted = np.stack([each[name] for each in expected])
        assert episode.columns[key].dtype == wanted.dtype
        assert np.array_equal(episode.columns[key], wanted), name
    assert np.array_equal(episode.columns["action"][2], expected[3]["action"])
    assert episode.columns["next.reward"].tolist() == [
        expected[t]["reward"] for t in range(1, 6)
    ] + [0]
    assert not episode.columns["next.truncated"].any()
    assert set(episode.stats) == set(episode.columns)
    assert (episode.length, episode.task) == (6, "wave")


def test_pictures_go_to_the_disk_as_they_come(tmp_path):
    toy = robot(SEEN, video=False)
    take = Take(toy, tmp_path / "one", H264, "")
    for each in rows(SEEN, 0, 3):
        take.add(toy.schema.check_row(each))
    episode = take.finish()
    spool = episode.pictures["observation.images.grey"]
    with Image.open(io.BytesIO(spool.read(2, 3)[0])) as found:
        assert np.array_equal(np.asarray(found), picture((1, 16, 32), 2)[0])
    mean = episode.stats["observation.images.front"]["mean"]
    wanted = np.mean([picture((3, 32, 48), t) for t in range(3)], axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(mean.ravel(), wanted, rtol=1e-9)
    episode.forget()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("video", [True, False])
def test_an_episode_that_is_given_up_leaves_nothing(tmp_path, video):
    toy = robot(SEEN, video)
    take = Take(toy, tmp_path / "one", H264, "")
    for each in rows(SEEN, 0, 3):
        take.add(toy.schema.check_row(each))
    assert (tmp_path / "one").exists()
    take.cancel()
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_none_are_counted(tmp_path):
    toy = robot()
    take = Take(toy, tmp_path, H264, "")
    for t, each in enumerate(rows(OBS, 0, 4)):
        if t == 2:
            each["pose"] = np.array([np.nan, 1, np.inf], np.float32)
        take.add(toy.schema.check_row(each))
    episode = take.finish()
    assert episode.strange == {"pose": 2}
    assert np.isnan(episode.columns["observation.pose"][2, 0])
    assert np.isfinite(episode.stats["observation.pose"]["mean"]).all()
