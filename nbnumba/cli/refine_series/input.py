"""What a series of measured images is refined from: the experiment of each image, its file, and where it starts.

Everything follows from the list of experiments of DIALS (.expt) unless flags or options state it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba import from_geometry
from nbnumba.cli import bundle, measured
from nbnumba.cli.option_lists import assignments, comma_list, numbers
from nbnumba.cli.simulate import use_threads
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags import arguments
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.geometry_files import FLAGS as FILES_OF_GEOMETRY
from nbnumba.flags.run import FACTORS, Run, run_of
from nbnumba.flags.subcommand import command_line_of
from nbnumba.flags.to_experiment import CELL_FLAGS, SHAPE_FLAGS, SIZE_FLAGS, experiment_of
from nbnumba.formats import dxtbx, endings
from nbnumba.formats.geometry import Geometry, Scan
from nbnumba.formats.image_files import ImageFile, files_found, has_digits, template_files
from nbnumba.formats.symmetry import group_of_hall
from nbnumba.formats.text import excerpt
from nbnumba.geometry.cell import cell_of
from nbnumba.setup.detector import polarization_axis
from nbnumba.setup.sources import tilt_axes
from nbnumba.setup.values import VECTORS
from nbnumba.statements import Crystal

SIGMA_M_DEG, SIGMA_B_DEG, REACH_DEG = 0.15, 0.05, 0.2
"""Mosaic spread, spread of diffracted rays, and reach of rocking curves, in degrees, where no profile states them."""

RAISED = {f"crystal.{name}": 0.01 if name.endswith("_deg") else 0.001 for name in Crystal.DOMAIN_SPREADS}
"""Where a spread that is refined begins if it is stated as 0: in degrees, or a part of the cell."""

UNSURE_DEG = 0.1
"""The standard deviation of the orientation of a still at the start, in degrees."""

SIZE_OF_WIDTH = 0.56
"""Wavelength over the width of a spot and the edge of a Gaussian crystal: standard deviation in radians, edge in A."""

FEWEST_CELLS = 5.0

STEPS_OF_SPREAD, MOST_STEPS = 2.0, 10
"""Steps of phi in a mosaic spread, and how many an image has at most."""

DOMAINS, OVERSAMPLE = 64, 2

KEPT_BYTES = 2**30
"""Images are kept in memory up to so many bytes; the others are read again whenever their pixels are wanted."""

OF_THE_FILE = {
    **dict.fromkeys(FILES_OF_GEOMETRY, "--expt states the geometry"),
    **dict.fromkeys(("-img", "-mask"), "--data and --mask name images"),
    "-image": "--images chooses images",
    "-experiment": "--experiment chooses one",
    **dict.fromkeys(("-phi", "-osc", "-phistep"), "--expt states the rotation"),
    "-lattice": "a series is of one crystal",
    "-c_parity": "nanoBragg.c refines nothing",
}
"""Flags that cannot stand beside --expt, and why."""


class Chosen(NamedTuple):
    """The experiment of a list, and which of its images are refined: their numbers and files, in the order of the scan."""

    path: str
    number: int
    geometry: Geometry
    images: list[ImageFile]

    @property
    def name(self) -> str:
        """The name of the list without its folder."""
        return os.path.basename(self.path)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the images."""
        return [int(image.number) for image in self.images if image.number is not None]

    @property
    def is_still(self) -> bool:
        """Whether it is a still, whose number is that of its experiment."""
        return is_still(self.geometry)

    @property
    def middle(self) -> int:
        """The number of the image in the middle, whose cell and detector all share."""
        return self.numbers[len(self.images) // 2]

    @property
    def geometry_of_middle(self) -> Geometry:
        """The geometry at the image in the middle, or that of the still."""
        return self.geometry if self.is_still else self.geometry.at_image(self.middle)

    @property
    def scan(self) -> Scan:
        """The whole scan of the file."""
        assert self.geometry.scan is not None
        return self.geometry.scan


class Setup(NamedTuple):
    """The start of a series: words of the flags of its middle image, what they mean, and the experiment of each image.

    states_amplitudes: whether flags name amplitudes. reach_deg: the standard deviation of rocking curves. raised: spreads that
    begin above 0 although they are stated as 0.
    """

    words: list[str]
    command_line: CommandLine
    run: Run
    experiments: list[Experiment]
    states_amplitudes: bool
    reach_deg: float
    raised: tuple[str, ...] = ()

    @property
    def middle(self) -> Experiment:
        """The experiment of the middle image."""
        return self.experiments[len(self.experiments) // 2]


# ------------------------------------------------------------------------------------------------ images


def choose(options: Any) -> Chosen:
    """The experiment and the images of --expt, --experiment, --images and --data.

    Raises InputError for a file, an experiment or an image that is not there, and for one that this cannot refine.
    """
    check_experiment(options)
    geometry = dxtbx.read(options.expt, "--expt", options.experiment)
    if geometry.crystal is None:
        raise InputError(f"--expt: {options.expt!r} states no crystal; allowed: an indexed or refined .expt, which has one")
    assert geometry.scan is not None, "cli/refine_series/stills.py takes stills"
    wanted = _numbers(options.images, geometry.scan)
    if options.data is None:
        images = dxtbx.images_of(options.expt, "--expt", options.experiment, wanted)
    else:
        images = _of_data(comma_list("--data", options.data), wanted, geometry.scan)
    _check_consecutive(images)
    return Chosen(options.expt, options.experiment or 0, geometry, images)


def is_still(geometry: Geometry) -> bool:
    """Whether an experiment of a list is a still: it states no rotation."""
    return geometry.scan is None or geometry.scan.width_deg == 0.0


def check_experiment(options: Any) -> None:
    """Raise InputError for an experiment that the list does not have; several, of which none is chosen, are warned of."""
    count = dxtbx.number_of_experiments(options.expt, "--expt")
    if options.experiment is not None and count and options.experiment >= count:
        allowed = f"0 to {count - 1}, the experiments of {options.expt!r}"
        raise InputError(f"--experiment: {options.experiment} is not allowed; allowed: {allowed}")


def _numbers(text: str | None, scan: Scan) -> list[int] | None:
    """The numbers of --images A:B, of which either may be missing; None for all whose files are there."""
    if text is None:
        return None
    first, colon, last = text.partition(":")
    last = last if colon else first
    ends = [arguments.number(end) if end else None for end in (first, last)]
    of_scan = scan.first_image, scan.first_image + (scan.images or 1) - 1
    least, most = (stated if given is None else given for given, stated in zip(ends, of_scan))
    wrong = any(end is None and word for end, word in zip(ends, (first, last))) or text.strip() in ("", ":")
    if wrong or least != round(least) or most != round(most) or not of_scan[0] <= least <= most <= of_scan[1]:
        allowed = f"A:B, A: or :B, numbers from {of_scan[0]} to {of_scan[1]}, those of the scan, A not above B"
        raise InputError(f"--images: {excerpt(text)} is not allowed; allowed: {allowed}")
    return list(range(int(least), int(most) + 1))


def _of_data(names: list[str], wanted: list[int] | None, scan: Scan) -> list[ImageFile]:
    """The images of --data: of a template, or of a list of files, one for each image. None wanted: those that are there."""
    every = list(range(scan.first_image, scan.first_image + (scan.images or 1))) if wanted is None else wanted
    if len(names) == 1 and (len(every) > 1 or has_digits(names[0])):
        if wanted is None and has_digits(names[0]):
            found = files_found(names, every, f"--data: {names[0]!r}", in_one=True)
            if not found:
                raise InputError(f"--data: {names[0]!r} has no file of an image of the scan; allowed: a template of some")
            return found
        if has_digits(names[0]) or endings.format_of(names[0]) == "HDF5":
            return template_files(names[0], every, "--data")
        allowed = "a template with a # for each digit of an image's number, an HDF5 file, or a file for each image"
        raise InputError(f"--data: {names[0]!r} is one file for {len(every)} images of the scan; allowed: {allowed}")
    if any(has_digits(name) and not os.path.exists(name) for name in names):
        raise InputError("--data: a template stands among other names; allowed: one template, or a file for each image")
    if len(names) != len(every):
        what = f"{len(names)} files are named for {len(every)} images"
        raise InputError(f"--data: {what}; allowed: a file for each image, which --images A:B chooses")
    return [ImageFile(name, number) for name, number in zip(names, every)]


def _check_consecutive(images: Sequence[ImageFile]) -> None:
    """Raise InputError for images between which one is missing: spots in it would have no place in the rotation."""
    found = [int(image.number or 0) for image in images]
    for before, after in zip(found, found[1:]):
        if after != before + 1:
            missing = f"image {before + 1} is missing between images {found[0]} and {found[-1]}"
            raise InputError(f"--images: {missing}; allowed: A:B, images that follow one another")


# ------------------------------------------------------------------------------------------------ experiments


def set_up(chosen: Chosen, options: Any, flags: Sequence[str]) -> Setup:
    """The experiments of the images at the start, by the flags of the middle image, with what --start states."""
    given = given_flags(flags)
    own, amplitudes = _own_words(chosen, given)
    number = [] if options.experiment is None and not chosen.is_still else ["-experiment", str(chosen.number)]
    image = [] if chosen.is_still else ["-image", str(chosen.middle)]
    words = ["-expt", chosen.path, *number, *image, *own, *flags]
    command_line = command_line_of(words, measured.READOUT_FLAGS)
    run = run_of(command_line)
    use_threads(run.threads)
    middle = experiment_of(command_line)
    if chosen.is_still:
        middle = middle.replace({"goniometer.osc_deg": 0.0, "goniometer.phisteps": 1})
        return Setup(words, command_line, run, [middle], amplitudes, UNSURE_DEG)
    experiments = [_of_image(middle, chosen, image) for image in chosen.numbers]
    profile = chosen.geometry.profile
    reach_deg = REACH_DEG if profile is None or not profile.sigma_m_deg > 0.0 else profile.sigma_m_deg
    return Setup(words, command_line, run, experiments, amplitudes, reach_deg)


def given_flags(flags: Sequence[str]) -> set[str]:
    """The first names of the flags that are given. Raises InputError for those that cannot stand beside --expt."""
    every = arguments.read(flags)
    for flag in every:
        if flag.flag.names[0] in OF_THE_FILE:
            allowed = f"flags without it, because {OF_THE_FILE[flag.flag.names[0]]}"
            raise InputError(f"{flag.spelling}: it is not allowed beside --expt; allowed: {allowed}")
    return {flag.flag.names[0] for flag in every}


def _own_words(chosen: Chosen, given: set[str]) -> tuple[list[str], bool]:
    """Flags of the start that the user's do not state, and whether those name amplitudes."""
    spread, cells, steps = _start_of(chosen)
    amplitudes = bool({*FACTORS, "-dump"} & given)
    rows = (
        ({*SHAPE_FLAGS}, ["-gauss_xtal"]),
        ({"-mosaic", "-mosaic_abc"}, ["-mosaic_abc", *[f"{spread:.4g}"] * 3]),
        ({"-mosaic_domains"}, ["-mosaic_domains", str(DOMAINS)]),
        ({"-mosaic_sampling"}, ["-mosaic_sampling", "sobol"]),
        ({*CELL_FLAGS, *SIZE_FLAGS}, ["-N_abc", *(f"{number:.4g}" for number in cells)]),
        ({"-oversample"}, ["-oversample", str(OVERSAMPLE)]),
        ({"-phisteps"}, [] if chosen.is_still else ["-phisteps", str(steps)]),
        ({"-phi_sampling"}, [] if chosen.is_still else ["-phi_sampling", "mid"]),
        ({"-interpolate", "-nointerpolate"}, ["-nointerpolate"] if amplitudes else []),
        ({"-default_F", *FACTORS, "-dump"}, ["-default_F", "1"]),
    )
    return [word for flags, words in rows if not flags & given for word in words], amplitudes


def _start_of(chosen: Chosen) -> tuple[float, list[float], int]:
    """Mosaic spread in degrees, numbers of cells, and steps of phi, by the profile of the file or without one."""
    geometry, profile = chosen.geometry, chosen.geometry.profile
    spread, width = (SIGMA_M_DEG, SIGMA_B_DEG) if profile is None else (profile.sigma_m_deg, profile.sigma_b_deg)
    spread, width = spread or SIGMA_M_DEG, width or SIGMA_B_DEG
    assert geometry.crystal is not None
    edges = cell_of(geometry.crystal.vectors)[:3]
    wavelength = geometry.wavelength_A or 1.0
    if chosen.is_still:
        edges = (sum(edges) / 3.0,) * 3  # one number of cells along all axes, as it is refined
    cells = [max(SIZE_OF_WIDTH * wavelength / (math.radians(width) * edge), FEWEST_CELLS) for edge in edges]
    if chosen.is_still:
        return spread, cells, 1
    steps = math.ceil(STEPS_OF_SPREAD * chosen.scan.width_deg / spread)
    return spread, cells, min(max(steps, 1), MOST_STEPS)


def _of_image(middle: Experiment, chosen: Chosen, number: int) -> Experiment:
    """The experiment of an image: that of the middle one with the rotation, the orientation and the beam of its own.

    What flags state in place of the file is the same in all images. A beam that varies within the scan is tilted, so that the
    detector stays where it is.
    """
    at_middle, at_image = chosen.geometry.at_image(chosen.middle), chosen.geometry.at_image(number)
    fields: dict[str, dict[str, Any]] = {"goniometer": {"phi_deg": chosen.scan.phi_of(number)}}
    for part, field, of in (
        ("crystal", "orientation", from_geometry.crystal_fields),
        ("goniometer", "spindle_axis", from_geometry.goniometer_fields),
    ):
        stated = of(at_middle).get(field)
        if stated is not None and getattr(getattr(middle, part), field) == stated:
            fields.setdefault(part, {})[field] = of(at_image)[field]
    if chosen.geometry.beam_at_points is not None:
        fields["beam"] = _tilts(middle, at_image.beam_direction)
    return dataclasses.replace(
        middle, **{part: dataclasses.replace(getattr(middle, part), **stated) for part, stated in fields.items()}
    )


def _tilts(middle: Experiment, direction: np.ndarray | None) -> dict[str, float]:
    """The tilts that turn the beam of the middle image to another direction (F5a); none where flags state the beam."""
    beam = middle.beam
    if beam.direction is None or direction is None or beam.direction_x_mrad or beam.direction_y_mrad:
        return {}
    along = np.array(beam.direction)
    first, second = tilt_axes(along, polarization_axis(middle.detector, beam))
    about_first = -math.asin(float(np.clip(direction @ second, -1.0, 1.0)))
    about_second = math.atan2(float(direction @ first), float(direction @ along))
    return {"direction_x_mrad": 1000.0 * about_first, "direction_y_mrad": 1000.0 * about_second}


def with_starts(setup: Setup, options: Any, tied: Sequence[Any]) -> Setup:
    """The setup with what --start states; tied: parameters of which some are tied, whose others follow.

    Raises InputError for a name that is no parameter, and for a value that it cannot have.
    """
    values: dict[str, Any] = {}
    for name, text in assignments("--start", options.start, "VALUE"):
        value = numbers(text)
        _check_start(setup.middle, name, text, value)
        names = next((one for one in tied if not isinstance(one, str) and name in one), (name,))
        values |= dict.fromkeys(names, value)
    if not values:
        return setup
    try:
        return setup._replace(experiments=[experiment.replace(values) for experiment in setup.experiments])
    except InputError as error:
        raise InputError(f"--start: {error}") from None


def with_raised_spreads(setup: Setup, parameters: Sequence[Any]) -> Setup:
    """The setup in which refined spreads that are 0 begin at RAISED: at 0 an image does not depend on them (A7b)."""
    names = [name for one in parameters for name in ((one,) if isinstance(one, str) else one)]
    zero = [name for name in names if name in RAISED and setup.middle.value(name) == 0.0]
    if not zero:
        return setup
    values = {name: RAISED[name] for name in zero}
    return setup._replace(experiments=[one.replace(values) for one in setup.experiments], raised=tuple(zero))


def _check_start(experiment: Experiment, name: str, text: str, value: Any) -> None:
    from adjoint.parameters import ARRAYS, PARAMETERS
    from adjoint.variables import is_parameter

    if name in ARRAYS or name.startswith("image.") or not is_parameter(experiment, name):
        single = ", ".join(known for known in (*PARAMETERS, *VECTORS) if known not in ARRAYS)
        raise InputError(f"--start: {excerpt(name)} is no parameter with a start; allowed: {single}")
    is_vector = name in VECTORS
    if value is None or isinstance(value, tuple) != is_vector or (is_vector and len(value) != 3):
        allowed = "X/Y/Z, three numbers" if is_vector else "a number"
        raise InputError(f"--start: {name}={text} is not allowed; allowed: {allowed}")


def system_of(geometry: Geometry, experiment: Experiment, group: Any = None) -> tuple[str, str]:
    """The crystal system by which the cell is refined, and why, in words: that of the space group, if the cell fits it.

    group: of gemmi, None for that of the geometry.
    """
    from adjoint.parameters import cell_parameters
    from adjoint.variables import variables

    symbol = geometry.crystal.space_group if geometry.crystal is not None else None
    group = group_of_hall(symbol or "") if group is None else group
    if group is None:
        return "triclinic", f"the Hall symbol {excerpt(symbol)} is unknown" if symbol else "no space group is stated"
    system, named = group.crystal_system_str(), f"by the space group {group.xhm()}"
    if system == "trigonal" and group.xhm().endswith(":R"):
        system = "rhombohedral"
    if system == "monoclinic" and group.monoclinic_unique_axis() != "b":
        return "triclinic", f"{named}, whose unique axis is not b"
    try:
        variables(experiment, cell_parameters(system))
    except InputError:
        return "triclinic", f"the cell is not {system} as {named[3:]} has it"
    return system, named


# ------------------------------------------------------------------------------------------------ pixels


class Reader:
    """Reads the images of a series, NaN where a pixel holds no measurement, and keeps as many as KEPT_BYTES hold.

    gain: counts per photon, of several panels that of flags, for each panel's own is divided out before. Warnings are those of
    the first image, which others of the same detector would repeat.
    """

    def __init__(self, chosen: Chosen, setup: Setup, readout: Readout, option: str):
        self.chosen, self.setup, self.readout, self.option = chosen, setup, readout, option
        self.gain = setup.run.response.gain
        self.first: measured.Measured | None = None
        self.kept: dict[int, np.ndarray] = {}
        self.bytes = 0

    def read(self, index: int) -> Any:
        """The image of an index in the series: (slow, fast), or one array for each panel."""
        if index in self.kept:
            return self.kept[index]
        counts = counts_of(self._measured(index))
        size = sum(panel.nbytes for panel in (counts if isinstance(counts, list) else [counts]))
        if self.bytes + size <= KEPT_BYTES:
            self.kept[index] = counts
            self.bytes += size
        return counts

    def reading(self, index: int) -> Callable[[], Any]:
        """A function that reads the image of an index."""
        return lambda: self.read(index)

    def _measured(self, index: int) -> measured.Measured:
        with warnings.catch_warnings():
            if self.first is not None:
                warnings.simplefilter("ignore", UserWarning)
            image = read_image(self.chosen.images[index].name, self.setup.experiments[index], self.readout, self.option)
        self.first = self.first or image
        return image


class Readout(NamedTuple):
    """What options say of the pixels of files: mask, saturation, offset and gaps, as measured.read() takes them."""

    mask: np.ndarray | None
    saturation: float | None
    offset: float | None
    gaps: measured.Gaps


def readout_noise(options: Any, setup: Setup) -> float:
    """The noise of the read-out in photons, which options and flags state in counts."""
    noise = setup.run.response.readout_noise
    if options.readout_noise is not None:
        noise = bundle.real_number("--readout-noise", options.readout_noise, "a number not below 0", lambda x: x >= 0.0)
    panels = setup.middle.detector.panels
    return noise / setup.run.response.gain / (panels[0].gain if panels else 1.0)


def readout_of(options: Any, setup: Setup) -> Readout:
    """What options say of the pixels. Raises InputError for a number or a mask that is impossible."""
    offset = None if options.offset is None else bundle.real_number("--offset", options.offset, "a number", lambda x: True)
    saturation = setup.run.response.saturation if "-saturation" in setup.command_line.last else None
    if options.saturation is not None:
        saturation = bundle.real_number("--saturation", options.saturation, "a positive number", lambda x: x > 0.0)
    mask = None if options.mask is None else measured.read_mask(options.mask, setup.middle)
    return Readout(mask, saturation, offset, measured.read_gaps(comma_list("--gap", options.gap)))


def read_image(name: str, experiment: Experiment, readout: Readout, option: str) -> measured.Measured:
    """A measured image. Raises InputError, naming the option that named the file, for one that does not fit."""
    try:
        return measured.read(name, experiment, *readout)
    except InputError as error:
        raise InputError(str(error).replace("--data:", f"{option}:", 1)) from None


def counts_of(image: measured.Measured) -> Any:
    """What was measured as an image: (slow, fast), or a list of one array for each panel."""
    panels = [_small(panel) for panel in image.panels]
    return panels[0] if np.ndim(image.data[0]) == 1 else panels


def _small(counts: np.ndarray) -> np.ndarray:
    """The same numbers in 4 bytes each, if these hold them."""
    small = counts.astype(np.float32)
    return small if np.array_equal(small, counts, equal_nan=True) else counts
