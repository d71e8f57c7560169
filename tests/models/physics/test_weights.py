"""What was learnt about a world, as a file."""

from pathlib import Path

import pytest
import torch

from reverie.models.physics import Physics
from reverie.models.physics.weights import WeightsError, load, save
from tests.models.physics.worlds import model, napkin, soft


def learnt() -> Physics:
    made = model(soft(), learn=("gravity", "matter_stiffness"))
    with torch.no_grad():
        made.factors["gravity"].fill_(0.25)
    return made


def test_factors_come_back(tmp_path: Path) -> None:
    save(learnt(), tmp_path / "run")
    made = load(tmp_path / "run", model(soft(), learn=("gravity", "matter_stiffness")))
    assert made.factors["gravity"].item() == 0.25
    assert made.factors["matter_stiffness"].item() == 0.0


def test_what_is_not_that_world_s_is_refused(tmp_path: Path) -> None:
    save(learnt(), tmp_path / "run")
    with pytest.raises(WeightsError, match="another world"):
        load(tmp_path / "run", model(napkin(), learn=("gravity",)))
    with pytest.raises(WeightsError, match="holds factors"):
        load(tmp_path / "run", model(soft(), learn=("gravity",)))
    with pytest.raises(WeightsError, match="not empty"):
        save(learnt(), tmp_path / "run")
    with pytest.raises(WeightsError, match="missing"):
        load(tmp_path, model(soft()))
    (tmp_path / "run" / "model.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        load(tmp_path / "run", learnt())
