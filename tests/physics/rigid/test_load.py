import mujoco
import numpy as np
import pytest
import torch

from reverie.physics.rigid import load
from tests.physics.rigid.scenes import F64, QUADRUPED, compiled, loaded, world

URDF = """<robot name="r"><link name="base"><inertial><mass value="2"/><origin xyz="0 0 0.1"/>
<inertia ixx="0.02" iyy="0.03" izz="0.04" ixy="0.001" ixz="0" iyz="0"/></inertial></link>
<link name="arm"><inertial><mass value="0.5"/><origin xyz="0.1 0 0"/><inertia ixx="0.002"
iyy="0.003" izz="0.004" ixy="0" ixz="0" iyz="0"/></inertial><collision><origin xyz="0.2 0 0"/>
<geometry><sphere radius="0.05"/></geometry></collision></link>
<joint name="elbow" type="revolute"><parent link="base"/><child link="arm"/><origin
xyz="0 0 0.2" rpy="0 0 0.3"/><axis xyz="0 1 0"/><limit lower="-1" upper="2" effort="5"
velocity="3"/><dynamics damping="0.2" friction="0.1"/></joint></robot>"""


def test_a_quadruped_is_read():
    found, (model, _) = loaded(QUADRUPED), compiled(QUADRUPED)
    m, p = found.model, found.params
    assert (m.position_size, m.velocity_size) == (19, 18)
    assert m.bodies[0].name == "trunk" and m.bodies[0].parent == -1
    assert [a.name for a in m.actuators][:2] == ["actuator0", "actuator1"]
    assert m.timestep == 0.004
    assert np.allclose(p.bodies.mass[0], model.body_mass[1:])
    assert np.allclose(p.joints.armature[0], model.dof_armature)
    assert np.allclose(p.joints.lower[0, 6:9], [-1, -1.5, -2])
    assert float(p.joints.upper[0, 0]) >= 1e9
    assert p.actuators.gain[0].tolist() == [60] * 12
    assert p.actuators.bias[0, 0].tolist() == [0, -60, -2]
    assert {(m.geoms[x.first].name, m.geoms[x.second].name) for x in m.pairs} == {
        (f"foot{k}", "floor") for k in range(4)
    }
    assert p.contacts.friction[0].tolist() == [1.0] * 4  # the floor's is the larger
    assert m.pairs_of("foot2") == [2] and len(m.pairs_of("floor")) == 4


def test_inertias_are_along_the_axes_of_the_body():
    scene = (
        '<mujoco><worldbody><body><freejoint/><inertial pos="0.1 0 0" mass="1" '
        'fullinertia="0.3 0.4 0.5 0.01 -0.02 0.03"/></body></worldbody></mujoco>'
    )
    inertia = loaded(scene).params.bodies.inertia[0, 0].tolist()
    assert inertia == pytest.approx([0.3, 0.4, 0.5, 0.01, -0.02, 0.03])


def test_urdf_is_read(tmp_path):
    file = tmp_path / "arm.urdf"
    file.write_text(URDF)
    found = load(file, dtype=F64)
    (joint,) = found.model.joints
    assert (joint.name, joint.kind, joint.axis) == ("elbow", "hinge", (0, 1, 0))
    p = found.params.joints
    rows = [float(x) for x in (p.lower, p.upper, p.damping, p.friction)]
    assert rows == pytest.approx([-1, 2, 0.2, 0.1])


def test_keyframes_are_poses():
    text = QUADRUPED.replace(
        "</mujoco>",
        '<keyframe><key name="up" qpos="'
        + " ".join(["0 0 1 1 0 0 0", *["0.1"] * 12])
        + '"/></keyframe></mujoco>',
    )
    found = load(text)
    assert set(found.poses) == {"default", "up"}
    assert found.poses["up"].position[0, 7:].tolist() == pytest.approx([0.1] * 12)
    assert found.poses["up"].position.dtype == torch.float32


def test_all_that_is_not_known_is_named_at_once_and_can_be_left_out():
    text = """<mujoco><option density="1.2"/><worldbody><body name="a"><joint name="x"/>
    <geom size="0.1"/><site name="s"/><body name="b" gravcomp="1"><joint name="y" type="ball"
    range="0 1" limited="true" stiffness="2"/><geom type="cylinder" size="0.1 0.1"/></body></body>
    <body name="c"><freejoint/><geom type="cylinder" size="0.1 0.1"/></body></worldbody>
    <tendon><fixed name="t" stiffness="1"><joint joint="x" coef="1"/></fixed></tendon>
    <equality><weld name="w" body1="b" body2="c"/></equality>
    <actuator><motor tendon="t"/>
    <general name="m" joint="x" dyntype="filter" dynprm="1"/><motor joint="x"/></actuator>
    </mujoco>"""
    with pytest.raises(ValueError, match="do not know here") as error:
        load(text)
    named = [
        *("tendons (t)", "equality constraints (w)", "limits of ball joints (y)"),
        *("springs of ball and free joints (y)", "gravity compensation (b)", "forces of a fluid"),
        *("contacts of cylinder and cylinder", "(actuator0, m)", "contacts of sphere and cylinder"),
    ]
    for what in named:
        assert what in str(error.value)
    features = str(error.value).partition("ignore=(")[2].partition(")")[0].replace("'", "")
    found = load(text, ignore=[x.strip() for x in features.split(",")])
    assert [a.name for a in found.model.actuators] == ["actuator2"]
    assert found.model.pairs == ()


def test_what_pushes_nothing_is_no_trouble():
    text = QUADRUPED.replace(
        '<body name="trunk" pos="0 0 0.366">',
        '<light pos="0 0 3"/><camera name="c" pos="0 0 3"/><body name="trunk" pos="0 0 0.366">'
        '<site name="imu"/>',
    ).replace("</mujoco>", '<sensor><gyro site="imu"/></sensor></mujoco>')
    assert len(load(text).model.bodies) == 13


def test_the_rules_of_mujoco_decide_what_touches():
    """Parents, exclusions, masks and explicit pairs; where it would make contacts, so do we."""
    text = """<mujoco><worldbody><geom name="floor" type="plane" size="1 1 1"/>
    <body name="a" pos="0 0 0.1"><freejoint/><geom name="a" size="0.2"/>
    <body name="b"><joint/><geom name="b" size="0.2" friction="0.3"/>
    <body name="c"><joint/><geom name="c" size="0.2"/></body></body>
    <body name="d"><joint/><geom name="d" size="0.2" contype="0" conaffinity="0"/></body>
    <body name="e"><joint/><geom name="e" size="0.2" contype="2" conaffinity="2"/></body>
    </body></worldbody><contact><exclude body1="a" body2="c"/>
    <pair geom1="d" geom2="c" friction="0.9 0.9 0 0 0"/></contact></mujoco>"""
    found, (model, data) = loaded(text), compiled(text)
    mujoco.mj_forward(model, data)
    real = {frozenset(int(g) for g in pair) for pair in data.contact.geom}
    assert {frozenset((p.first, p.second)) for p in found.model.pairs} == real
    explicit = [frozenset((p.first, p.second)) == {3, 4} for p in found.model.pairs].index(True)
    assert float(found.params.contacts.friction[0, explicit]) == pytest.approx(0.9)


def test_a_body_rests_as_deep_as_in_mujoco():
    scene = world('<body pos="0 0 0.1"><freejoint/><geom size="0.1" mass="3"/></body>')
    found, (model, data) = loaded(scene), compiled(scene)
    for _ in range(2000):
        mujoco.mj_step(model, data)
    depth = 3 * 9.81 / float(found.params.contacts.stiffness)
    assert depth == pytest.approx(0.1 - data.qpos[2], rel=0.2)


def test_limits_are_stiff_whatever_their_impedance_begins_with():
    text = """<mujoco><worldbody><body><joint axis="0 1 0" range="-10 10" limited="true"
    solimplimit="0 0.99 0.01"/><geom size="0.1" pos="0.5 0 0" mass="1"/></body></worldbody>
    </mujoco>"""
    p = loaded(text).params.joints
    inertia = 0.25 + 0.4 * 0.01
    assert float(p.limit_stiffness) > 1000 * inertia
    assert float(p.limit_damping) ** 2 == pytest.approx(4 * inertia * float(p.limit_stiffness))


def test_force_limits_of_joints_clip_their_actuator():
    text = """<mujoco><worldbody><body><joint name="j" actuatorfrcrange="-6 4"/>
    <geom size="0.1"/></body></worldbody><actuator><motor joint="j" gear="2"/></actuator>
    </mujoco>"""
    p = loaded(text).params.actuators
    assert (float(p.weakest), float(p.strongest)) == (-3, 2)


def test_what_mujoco_cannot_read_is_said():
    with pytest.raises(ValueError, match="MuJoCo cannot read"):
        load("<mujoco><worldbody><body/><nonsense/></worldbody></mujoco>")
    with pytest.raises(ValueError, match="MuJoCo cannot read"):
        load("/nowhere/robot.xml")
