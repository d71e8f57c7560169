from reverie.data.part import Key
from reverie.data.retired import Retired

KEYS = [Key(0, number, 0) for number in range(5)]


def test_without_a_checkpoint_files_go_at_once():
    gone = []
    Retired(gone.append).add(KEYS[0])
    assert gone == [KEYS[0]]


def test_files_go_when_all_checkpoints_that_sample_them_are_deleted(tmp_path):
    gone: list[Key] = []
    retired = Retired(gone.append)
    for number in range(3):
        temporary = tmp_path / f"writing-{number}"
        temporary.mkdir()
        (temporary / "state").write_text("x")
        retired.checkpoint(temporary / "state")
        temporary.rename(tmp_path / f"step-{number}")  # as checkpoints are put in place
        retired.add(KEYS[number])
    (tmp_path / "step-1" / "state").unlink()
    retired.prune()
    assert gone == [], "the checkpoint before it still lists both"
    (tmp_path / "step-0" / "state").unlink()
    retired.prune()
    assert gone == KEYS[:2]
    (tmp_path / "step-2" / "state").unlink()
    (tmp_path / "state").write_text("x")
    retired.checkpoint(tmp_path / "state", [KEYS[3]])
    assert gone == KEYS[:3]
    (tmp_path / "state").unlink()
    retired.prune()
    assert gone == KEYS[:4]
