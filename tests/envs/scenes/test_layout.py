"""The constants of a scene travel as one vector."""

import numpy as np
import pytest

from reverie.envs.scenes import TASKS, Constants, start


def test_constants_come_back_from_their_vector() -> None:
    given = Constants(
        np.array([1.0, 2.0]), np.array([[0.1, 0.2], [0.3, 0.4]]), 9.0, 0.5, 0.8, np.array([3.0, 1])
    )
    packed = given.pack()
    assert packed.tolist() == [1.0, 0.1, 0.2, 2.0, 0.3, 0.4, 9.0, 0.5, 0.8, 3.0, 1.0]
    again = Constants.unpack(packed)
    assert again.pack().tolist() == packed.tolist()
    assert again.halves.tolist() == given.halves.tolist()


@pytest.mark.parametrize("size", [5, 9, 3])
def test_a_vector_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="3 n \\+ 5"):
        Constants.unpack(np.zeros(size))


@pytest.mark.parametrize("name", TASKS)
def test_states_are_as_wide_as_their_task_says(name: str) -> None:
    constants, state = start(name, 0)
    assert state.shape == (len(TASKS[name].objects), TASKS[name].width)
    assert constants.pack().shape == (3 * len(state) + 5,)
