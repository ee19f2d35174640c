"""Parameters of an experiment by name, such as "detector.distance_mm": the value of one, and new values for some."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nbnumba.crystal_names import name_of, number_and_name
from nbnumba.errors import InputError, shown
from nbnumba.group_names import MOTIONS, OF_GROUP
from nbnumba.setup import orientations, sources
from nbnumba.setup.conventions import CONVENTIONS
from nbnumba.setup.crystal import missetting_deg
from nbnumba.setup.detector import honours_pix0, pivot_of, position_detector
from nbnumba.setup.panels import members
from nbnumba.statements import PART_NAMES, Detector, Group, Stated, Statements

VECTORS: dict[str, tuple[str, str, str]] = {
    "crystal.misset_deg": ("crystal.misset_x_deg", "crystal.misset_y_deg", "crystal.misset_z_deg"),
    "crystal.n_cells": ("crystal.n_a", "crystal.n_b", "crystal.n_c"),
    "crystal.n_def": ("crystal.n_d", "crystal.n_e", "crystal.n_f"),
    "crystal.position_mm": ("crystal.position_x_mm", "crystal.position_y_mm", "crystal.position_z_mm"),
}
"""Names of three numbers at once. Either the name is a field, of three numbers, or each of the three is a field."""

MISSET = "crystal.misset_deg"

NEAR_POINT = {"fast": ("xclose_mm", "orgx_pixels"), "slow": ("yclose_mm", "orgy_pixels")}
"""The forms in which the point nearest to the crystal is stated, along each axis of the detector."""

BEAM_CENTRE = ("xbeam_mm", "ybeam_mm")
DISTANCE = ("distance_mm", "close_distance_mm")
POSITION = (*DISTANCE, *BEAM_CENTRE, *NEAR_POINT["fast"], *NEAR_POINT["slow"])
"""The fields that state the position of the detector, unless pix0_mm does."""

FIELDS = {part: {field.name for field in dataclasses.fields(kind)} for kind, part in PART_NAMES.items()}
"""The names of the fields of each part of an experiment."""

EXAMPLE = '{"detector.distance_mm": 231.3}'


def numbers_of(name: str) -> tuple[str, str, str] | None:
    """Return the names of the three numbers that a name of VECTORS stands for, of any crystal; None for another name."""
    number, own = number_and_name(name)
    if own not in VECTORS:
        return None
    a, b, c = (name_of(number, single) for single in VECTORS[own])
    return a, b, c


def _check_name(name) -> None:
    """Raise InputError if a name is no string."""
    if not isinstance(name, str):
        raise InputError(f"{shown(name)} is no parameter; allowed: a part and a field of it, such as detector.distance_mm")


def _is_of_another_crystal(experiment: Statements, name: str) -> bool:
    """Whether a name is that of a parameter of a crystal beside the first. Raises InputError where there is no such crystal."""
    if not name.startswith("crystal["):
        return False
    number = number_and_name(name)[0]
    count = len(experiment.crystals)
    if number not in range(1, count):
        allowed = f"crystal[1] to crystal[{count - 1}]" if count > 1 else "crystal., as there is one crystal"
        raise InputError(f"{shown(name)} is no parameter; allowed: {allowed}")
    return True


def _with_first(experiment: Stated, number: int) -> Stated:
    """Return an experiment in which the crystal of a number, which is not 0, is the first and only one."""
    alone = dataclasses.replace(experiment.other_crystals[number - 1], structure_factors=None)
    return dataclasses.replace(experiment, crystal=alone, other_crystals=())


def _with_other_crystals(experiment: Stated, values: Mapping[str, Any]) -> tuple[Stated, dict[str, Any]]:
    """Return the experiment with the parameters of its crystals beside the first changed, and the other values."""
    rest: dict[str, Any] = {}
    of_crystals: dict[int, dict[str, Any]] = {}
    for name, wanted in values.items():
        _check_name(name)
        if _is_of_another_crystal(experiment, name):
            number, own = number_and_name(name)
            of_crystals.setdefault(number, {})[own] = wanted
        else:
            rest[name] = wanted
    others = list(experiment.other_crystals)
    for number, of_crystal in of_crystals.items():
        factors = others[number - 1].structure_factors
        try:
            changed = with_values(_with_first(experiment, number), of_crystal).crystal
        except InputError as error:
            raise InputError(str(error).replace("crystal.", f"crystal[{number}].", 1)) from None
        own_factors = changed.structure_factors if "crystal.structure_factors" in of_crystal else factors
        others[number - 1] = dataclasses.replace(changed, structure_factors=own_factors)
    return (dataclasses.replace(experiment, other_crystals=tuple(others)) if of_crystals else experiment), rest


def group_parameter(path: str, motion: str) -> str:
    """Return the name of a parameter of a group. motion: a name of MOTIONS."""
    return f"detector.group[{path}].{motion}"


def path_and_motion(detector: Detector, name: str) -> tuple[str, str] | None:
    """Return the path and the motion of a parameter of a group; None for the name of anything else.

    Raises InputError for a motion that does not exist, and for a group without a panel.
    """
    if not name.startswith("detector.group["):
        return None
    found = OF_GROUP.fullmatch(name)
    if found is None or found["motion"] not in MOTIONS:
        allowed = f"detector.group[PATH]. and one of {', '.join(MOTIONS)}"
        raise InputError(f"{shown(name)} is no parameter; allowed: {allowed}")
    if not members(detector, found["path"]):
        allowed = "the path of a panel, or the beginning of paths" if detector.panels else "none, as there are no panels"
        raise InputError(f"{name}: no panel has a path that begins with {found['path']}; allowed: {allowed}")
    return found["path"], found["motion"]


def _group(detector: Detector, path: str) -> Group:
    """Return what is stated of a group, or a group that is not moved."""
    return next((group for group in detector.groups if group.path == path), Group(path))


def value(experiment: Statements, name: str) -> Any:
    """Return the value of a parameter, as the image is computed from it, in the unit that its name says."""
    _check_name(name)
    if _is_of_another_crystal(experiment, name):
        return value(_with_first(experiment, number_and_name(name)[0]), number_and_name(name)[1])
    of_group = path_and_motion(experiment.detector, name)
    if of_group is not None:
        field, index = MOTIONS[of_group[1]]
        return getattr(_group(experiment.detector, of_group[0]), field)[index]
    if name in VECTORS[MISSET]:
        return value(experiment, MISSET)[VECTORS[MISSET].index(name)]
    if name in VECTORS and name != MISSET:
        return tuple(value(experiment, number) for number in VECTORS[name])
    part, field = _split(name)
    stated = getattr(getattr(experiment, part), field)
    if name in COMPUTED and (stated is None or COMPUTED[name].overruled(experiment)):
        return COMPUTED[name].value(experiment)
    return stated


def with_values(experiment: Stated, values: Mapping[str, Any]) -> Stated:
    """Return a new experiment in which these parameters have these values, and are stated in no other form."""
    if not isinstance(values, Mapping):
        raise InputError(f"replace: {shown(values)} is not allowed; allowed: values by name, such as {EXAMPLE}")
    experiment, values = _with_other_crystals(experiment, values)
    parts: dict[str, dict[str, Any]] = {}
    for vector, numbers in VECTORS.items():
        if vector in values and not values.keys().isdisjoint(numbers):
            both = ", ".join(name for name in (vector, *numbers) if name in values)
            raise InputError(f"replace: {both} state the same numbers; allowed: {vector} alone, or single numbers alone")
    moved = _with_moved_groups(experiment.detector, values)
    if moved is not experiment.detector:
        parts["detector"] = {"groups": moved.groups}
    for name, wanted in values.items():
        _check_name(name)
        if name.startswith("detector.group["):
            continue
        if name in VECTORS[MISSET]:
            crystal = parts.setdefault("crystal", {})
            angles = list(crystal.get("misset_deg", value(experiment, MISSET)))
            angles[VECTORS[MISSET].index(name)] = wanted
            crystal["misset_deg"] = tuple(angles)
        elif name in VECTORS and name != MISSET:
            numbers = (number.partition(".")[2] for number in VECTORS[name])
            parts.setdefault("crystal", {}).update(zip(numbers, _three_numbers(name, wanted)))
        else:
            part, field = _split(name)
            parts.setdefault(part, {})[field] = wanted
    if "misset_deg" in parts.get("crystal", {}):
        parts["crystal"].setdefault("misset_seed", None)
    if "detector" in parts:
        parts["detector"] = {**_superseded(experiment, parts["detector"]), **parts["detector"]}
    new = {part: fields for part, fields in parts.items() if not _has(getattr(experiment, part), fields)}
    changed = {part: dataclasses.replace(getattr(experiment, part), **fields) for part, fields in new.items()}
    return dataclasses.replace(experiment, **changed) if changed else experiment


def _has(part: Any, fields: Mapping[str, Any]) -> bool:
    """Whether all fields of a part already hold these very objects, or tuples of them: nothing of it has to be checked anew."""
    return all(_is_same(getattr(part, name), value) for name, value in fields.items())


def _is_same(held: Any, value: Any) -> bool:
    """Whether two values are one object, or tuples of the same objects."""
    if type(held) is tuple and type(value) is tuple and len(held) == len(value):
        return all(a is b for a, b in zip(held, value))
    return held is value


def _with_moved_groups(detector: Detector, values: Mapping[str, Any]) -> Detector:
    """Return the detector with those groups that parameters move; the same one if none does."""
    moved = {group.path: group for group in detector.groups}
    named = [name for name in values if isinstance(name, str) and name.startswith("detector.group[")]
    for whole in ("detector.groups", "detector.panels"):
        if named and whole in values:
            raise InputError(f"replace: {named[0]}, {whole} state the same; allowed: one of them")
    for name in named:
        found = path_and_motion(detector, name)
        assert found is not None
        path, (field, index) = found[0], MOTIONS[found[1]]
        group = moved.get(path, Group(path))
        numbers = list(getattr(group, field))
        numbers[index] = values[name]
        moved[path] = dataclasses.replace(group, **{field: tuple(numbers)})
    return dataclasses.replace(detector, groups=tuple(moved.values())) if named else detector


def _three_numbers(name, numbers):
    """Return three numbers, or raise InputError with the name of their parameter."""
    try:
        a, b, c = numbers
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: {shown(numbers)} is not allowed; allowed: three numbers") from None
    return a, b, c


def _superseded(experiment, new) -> dict[str, Any]:
    """Return those other fields of the detector that must change with the new ones, because they would contradict them."""
    detector, superseded = experiment.detector, {}
    convention = new.get("convention", detector.convention)
    if not isinstance(convention, str) or convention not in CONVENTIONS:
        return {}
    swapped = CONVENTIONS[convention].swapped
    along = {"xbeam_mm": "slow" if swapped else "fast", "ybeam_mm": "fast" if swapped else "slow"}
    if detector.pix0_mm is not None and set(POSITION) & set(new):
        superseded |= _without_pix0(experiment)
    for beam, axis in along.items():
        forms = (beam, *NEAR_POINT[axis])
        if any(new.get(name) is not None for name in forms):
            superseded |= {name: None for name in forms}
    if {"pixels", "pixel_mm"} & set(new):
        superseded["size_mm"] = None
    if new.get("distance_mm") is not None:
        superseded["close_distance_mm"] = None
    if new.get("close_distance_mm") is not None:
        superseded["distance_mm"] = None
    if new.get("pix0_mm") is not None:
        superseded |= dict.fromkeys(POSITION)
    return superseded


def _without_pix0(experiment) -> dict[str, Any]:
    """Return the fields that state the same position of the detector by beam centre and distance (F1a)."""
    detector = experiment.detector
    if not honours_pix0(detector, experiment.sampling.defects):
        return {"pix0_mm": None}
    placement = _placement(experiment)
    stated = {"pix0_mm": None, "xbeam_mm": placement.xbeam * 1000, "ybeam_mm": placement.ybeam * 1000}
    if pivot_of(detector, experiment.sampling.defects) == "sample":
        return stated | {"close_distance_mm": placement.stated_close_distance * 1000}
    return stated | {"distance_mm": placement.stated_distance * 1000}


def _split(name):
    """Return the part and the field of a name. Raises InputError for a name that is no parameter."""
    part, _, field = name.partition(".")
    if field not in FIELDS.get(part, ()):
        raise InputError(f"{shown(name)} is no parameter; allowed: a part and a field of it, such as detector.distance_mm")
    return part, field


def _placement(experiment):
    """Return the placement of the detector (F1a)."""
    return position_detector(experiment.detector, experiment.beam, experiment.sampling.defects)


def _always(_: Statements) -> bool:
    return True


def _never(_: Statements) -> bool:
    return False


def _placed_by_pix0(experiment: Statements) -> bool:
    """Return whether the corner of the first pixel places the detector (F1a)."""
    return honours_pix0(experiment.detector, experiment.sampling.defects)


def _placed_otherwise(experiment: Statements) -> bool:
    """Return whether a close distance or the corner of the first pixel places the detector, and not the distance (F1a)."""
    return experiment.detector.close_distance_mm is not None or _placed_by_pix0(experiment)


class Computed(NamedTuple):
    """How the value of a field follows from other fields.

    value: the function that computes it, where the field is not stated. overruled: whether it is computed where it is stated.
    """

    value: Callable[[Statements], Any]
    overruled: Callable[[Statements], bool] = _never


COMPUTED: dict[str, Computed] = {
    "crystal.misset_deg": Computed(lambda e: missetting_deg(e.crystal, e.sampling.defects), _always),
    "beam.source_weights": Computed(lambda e: sources.weights_of(e.beam, e.sampling.defects)),
    "detector.xbeam_mm": Computed(lambda e: _placement(e).xbeam * 1000),
    "detector.ybeam_mm": Computed(lambda e: _placement(e).ybeam * 1000),
    "detector.distance_mm": Computed(lambda e: _placement(e).stated_distance * 1000, _placed_otherwise),
    "detector.close_distance_mm": Computed(lambda e: _placement(e).stated_close_distance * 1000, _placed_by_pix0),
    "detector.attenuation_um": Computed(lambda e: e.detector.thickness_um),
    "goniometer.osc_deg": Computed(lambda e: orientations.phi_steps(e.goniometer)[2]),
    "goniometer.phistep_deg": Computed(lambda e: orientations.phi_steps(e.goniometer)[1], _always),
    "goniometer.phisteps": Computed(lambda e: orientations.phi_steps(e.goniometer)[0], _always),
}
"""The fields whose value is not always what is stated."""
