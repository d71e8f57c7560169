import mujoco
import pytest

from reverie.physics.rigid import support

TEXT = """<mujoco><option><flag contact="disable" spring="disable"/></option><worldbody>
<body name="a"><joint name="x" stiffness="1"/><geom type="capsule" size="0.1 0.2"/></body>
</worldbody><actuator><motor name="m" joint="x"/><intvelocity name="i" joint="x" kp="1"
actrange="-1 1"/><position name="p" joint="x" kp="1"/></actuator></mujoco>"""


def compiled():
    return mujoco.MjModel.from_xml_string(TEXT)


def test_flags_are_read():
    assert support.disabled(compiled(), "CONTACT")
    assert not support.disabled(compiled(), "GRAVITY")
    assert support.unsupported(compiled(), [])["options switched off"] == ["spring"]


def test_actuators_with_a_state_of_their_own_are_not_known():
    assert support.actuators(compiled()).tolist() == [True, False, True]


def test_kinds_and_names():
    model = compiled()
    assert support.kind_of(model, 0) == "capsule"
    assert support.names("geom", model.ngeom, model) == ["geom0"]
    assert support.names("joint", model.njnt, model) == ["x"]


@pytest.mark.parametrize(
    ("one", "two", "swap"),
    [
        ("sphere", "plane", False),
        ("plane", "sphere", True),
        ("box", "sphere", True),
        ("cylinder", "box", None),
        ("ellipsoid", "sphere", None),
    ],
)
def test_the_order_of_kinds(one, two, swap):
    assert support.order(one, two) is swap


def test_tendons_that_do_not_pull_are_no_trouble():
    text = TEXT.replace(
        "<actuator>",
        '<tendon><fixed name="idle"><joint joint="x" coef="1"/></fixed><fixed name="taut" '
        'limited="true" range="0 1"><joint joint="x" coef="1"/></fixed></tendon><actuator>',
    )
    assert support.unsupported(mujoco.MjModel.from_xml_string(text), [])["tendons"] == ["taut"]


def test_without_constraints_there_are_no_contacts_and_limits():
    model = mujoco.MjModel.from_xml_string(
        TEXT.replace('contact="disable"', 'constraint="disable"')
    )
    assert support.disabled(model, "CONTACT") and support.disabled(model, "LIMIT")
    assert support.unsupported(model, [])["options switched off"] == ["spring"]
