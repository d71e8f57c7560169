"""What the features of a LeRobot dataset are called here, and their spaces.

    observation.state -> state                      observation.images.top -> top
    observation.environment_state -> environment_state      observation.image -> image

otherwise the key without `observation.`, dots as underscores.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo, DatasetError
from reverie.data.lerobot.layout import ACTIONS, BOOKKEEPING, OURS, OUTCOMES, Feature, Info
from reverie.data.serial import from_json

_TAKEN = {"action", "reward", "first", "last", "terminated"}


def sensors(info: Info) -> dict[str, str]:
    """Feature key -> name, of all that was sensed.

    Names that two keys share, or that mean something else in a row, give way to the full key with
    underscores. Keys that Reverie wrote have the names that were given to it.

    Raises:
        DatasetError: two keys differ in punctuation only.
    """
    own = _own_sensors(info)
    keys = [key for key, each in info.features.items() if key in own or _is_sensor(each)]
    short = {key: own[key]["name"] if key in own else _short(key) for key in keys}
    count = Counter(short.values())
    names = {
        key: name if count[name] == 1 and name not in _TAKEN else _plain(key)
        for key, name in short.items()
    }
    clash = [name for name, n in Counter(names.values()).items() if n > 1]
    if clash or _TAKEN & set(names.values()):
        raise DatasetError(
            info.where, "features", f"the keys {keys} cannot be told apart: {clash or list(names)}."
        )
    return names


def spaces(info: Info, names: Mapping[str, str]) -> dict[str, Space]:
    """The space of each sensor by its name: Reverie's own where it wrote it, else from the feature.

    Pictures are uint8 `(C, h, w)`, whole numbers int64, bool bool and all others float32; bounds
    are unknown.
    """
    own = _own_sensors(info)
    found = {}
    for key, name in names.items():
        feature = info.features[key]
        if key in own:
            field = f"{OURS}.obs.{key}.space"
            found[name] = _own_space(own[key].get("space"), feature, info.where, field)
        else:
            found[name] = _space(feature)
    return found


def left_out(info: Info, names: Mapping[str, str]) -> list[str]:
    """Features that are not read: texts, and what is neither sensed, done nor an outcome."""
    known = {*names, *BOOKKEEPING, *OUTCOMES, action_key(info)}
    return [key for key in info.features if key not in known]


def action_key(info: Info) -> str:
    """The feature that is the action."""
    for key in ACTIONS:
        if key in info.features:
            return key
    raise DatasetError(
        info.where,
        "features",
        f"there is no {ACTIONS[0]!r} among {sorted(info.features)}; a dataset without actions "
        "cannot be read here.",
    )


def action_space(info: Info) -> Space:
    """The space of the action: unbounded float32, unless Reverie wrote it."""
    feature = info.features[action_key(info)]
    if "action" in info.ours:
        return _own_space(info.ours["action"], feature, info.where, f"{OURS}.action")
    if feature.dtype == "string" or feature.is_picture:
        raise DatasetError(info.where, f"features.{feature.key}", f"an action of {feature.dtype}.")
    return Space(feature.shape)


def action_info(info: Info) -> ActionInfo:
    """What the numbers of the action mean, as far as the dataset says."""
    if "action_info" in info.ours:
        try:
            return from_json(ActionInfo, info.ours["action_info"], f"{OURS}.action_info")
        except (TypeError, ValueError) as error:
            raise DatasetError(info.where, f"{OURS}.action_info", str(error)) from error
    feature = info.features[action_key(info)]
    whole = len(feature.names) == math.prod(feature.shape)
    return ActionInfo(names=feature.names if whole else ())


def _is_sensor(feature: Feature) -> bool:
    key = feature.key
    named = key.startswith("observation") or key in ("state", "environment_state")
    return (named or feature.is_picture) and feature.dtype not in ("string", "object")


def _own_sensors(info: Info) -> Mapping[str, Any]:
    """What Reverie's writer says of its keys."""
    own = info.ours.get("obs", {})
    whole = isinstance(own, dict) and all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in own.values()
    )
    if not whole or not own.keys() <= info.features.keys():
        raise DatasetError(
            info.where, f"{OURS}.obs", 'it must give keys of features a {"name", "space"}.'
        )
    return own


def _short(key: str) -> str:
    return _plain(key.removeprefix("observation.").removeprefix("images.") or key)


def _plain(key: str) -> str:
    return re.sub(r"\W", "_", key)


def _space(feature: Feature) -> Space:
    if feature.is_picture:
        return Space(feature.picture_shape(), "uint8")
    if feature.dtype == "bool":
        return Space(feature.shape, "bool")
    return Space(feature.shape, "int64" if re.match(r"u?int\d", feature.dtype) else "float32")


def _own_space(value: Any, feature: Feature, where: str, field: str) -> Space:
    try:
        space = Space.from_json(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(where, field, f"it is no space: {error!r}.") from error
    picture = feature.is_picture and space.shape != feature.picture_shape()
    if space.size != math.prod(feature.shape) or picture:
        raise DatasetError(
            where, field, f"shape {list(space.shape)} is not that of {list(feature.shape)}."
        )
    return space
