"""Small files of geometry, of each format that is read: the same detector of two panels, or one, at 100 mm."""

import copy
import json
from pathlib import Path

import numpy as np

WAVELENGTH = 1.2
PIXEL = 0.1
DISTANCE = 100.0
FAST, SLOW = 6, 5
CELL = np.diag([30.0, 40.0, 50.0])
"""Real-space vectors of the crystal as rows, in the frame of imgCIF, at phi = 0."""

PANEL = {
    "origin": [-1.0, 1.0, 0.0], "fast_axis": [1.0, 0.0, 0.0], "slow_axis": [0.0, -1.0, 0.0],
    "name": "p0", "type": "SENSOR_PAD", "image_size": [FAST, SLOW], "pixel_size": [PIXEL, PIXEL],
    "trusted_range": [-1.0, 60000.0], "thickness": 0.32, "mu": 2.0, "material": "Si", "gain": 2.0, "mask": [[1, 0, 2, 5]],
    "px_mm_strategy": {"type": "ParallaxCorrectedPxMmStrategy"},
}  # fmt: skip
BEAM = {
    "direction": [0.0, 0.0, 1.0], "wavelength": WAVELENGTH, "polarization_normal": [0.0, 1.0, 0.0],
    "polarization_fraction": 0.9, "divergence": 0.0, "sigma_divergence": 0.0,
}  # fmt: skip


def reciprocal(vectors):
    """The matrix A of a lattice as dxtbx writes it: nine numbers, columns a*, b*, c*."""
    return np.linalg.inv(vectors).ravel().tolist()


def experiments(panels=1, **changes):
    """The content of an .expt: one experiment of two images, with one panel or two in a tree; changes: whole models."""
    detector = {"panels": [{**PANEL, "origin": [-1.0, 1.0, -DISTANCE]}]}
    if panels == 2:
        group = {"origin": [0.0, 0.0, 0.0], "fast_axis": [1.0, 0.0, 0.0], "slow_axis": [0.0, 1.0, 0.0]}
        second = {**PANEL, "origin": [0.5, 1.0, 0.2], "name": "p 1"}
        leaves = [{**group, "name": f"q{n}", "origin": [0.1 * n, 0.0, 0.0], "children": [{"panel": n}]} for n in (0, 1)]
        root = {**group, "name": "all", "origin": [0.0, 0.0, -DISTANCE], "children": leaves}
        detector = {"panels": [PANEL, second], "hierarchy": root}
    crystal = {f"real_space_{axis}": list(row) for axis, row in zip("abc", CELL)}
    crystal["A_at_scan_points"] = [reciprocal(CELL * scale) for scale in (1.0, 1.1, 1.2)]
    models = {
        "beam": [BEAM],
        "detector": [detector],
        "goniometer": [{"rotation_axis": [1.0, 0.0, 0.0], "fixed_rotation": [1, 0, 0, 0, 1, 0, 0, 0, 1]}],
        "scan": [{"image_range": [3, 4], "oscillation": [10.0, 0.5], "exposure_time": [0.1, 0.1], "epochs": [0.0, 0.1]}],
        "crystal": [{"__id__": "crystal", **crystal, "space_group_hall_symbol": " P 1"}],
    } | changes
    indices = {kind: 0 if models[kind] else None for kind in models}
    return copy.deepcopy({"__id__": "ExperimentList", "experiment": [{"__id__": "Experiment", **indices}], **models})


def expt_bytes(panels=1, **changes):
    """An .expt as bytes."""
    return json.dumps(experiments(panels, **changes), indent=1).encode()


def xparm_bytes():
    """An XPARM.XDS: spindle x, beam z, y downwards; 1/A along the beam."""
    return f"""XPARM.XDS    VERSION May 1, 2016  BUILT=20160617
     1       10.0000    0.5000  1.000000  0.000000  0.000000
       {WAVELENGTH:.6f}       0.000000       0.000000       {1 / WAVELENGTH:.6f}
     1     30.0000     40.0000     50.0000  90.000  90.000  90.000
      30.000000       0.000000       0.000000
       0.000000     -40.000000       0.000000
       0.000000       0.000000     -50.000000
         1         {FAST}         {SLOW}    {PIXEL:.6f}    {PIXEL:.6f}
      10.500000      10.500000     {DISTANCE:.6f}
       1.000000       0.000000       0.000000
       0.000000       1.000000       0.000000
       0.000000       0.000000       1.000000
         1         1         {FAST}         1         {SLOW}
    0.00    0.00    0.00  1.00000  0.00000  0.00000  0.00000  1.00000  0.00000
""".encode()


def geom_bytes():
    """A .geom of CrystFEL of two panels in two groups."""
    return f"""; a comment
photon_energy = {12398.42 / WAVELENGTH:.10g} eV
res = {1000 / PIXEL:g}
clen = {DISTANCE:g} mm
adu_per_photon = 2
max_adu = 60000
data = /entry/data
dim0 = %
rigid_group_q0 = p0
rigid_group_q1 = p1
rigid_group_collection_quads = q0,q1
badstripe/min_fs = 1
badstripe/max_fs = 1
badstripe/min_ss = 0
badstripe/max_ss = 4
badstripe/panel = p0
p0/min_fs = 0
p0/max_fs = {FAST - 1}
p0/min_ss = 0
p0/max_ss = {SLOW - 1}
p0/fs = -1.0x
p0/ss = -y
p0/corner_x = 10
p0/corner_y = 10
p1/min_fs = 0
p1/max_fs = {FAST - 1}
p1/min_ss = {SLOW}
p1/max_ss = {2 * SLOW - 1}
p1/fs = -x +0.0y
p1/ss = -1y
p1/corner_x = -6
p1/corner_y = 10
p1/coffset = -0.0002
""".encode()


def masked_geom_bytes():
    """The same with bad pixels of every kind, places in one array and limits of values."""
    more = f"""mask0_file = none.h5
mask0_data = /mask
mask0_goodbits = 0x1
p1/mask = /mask
p1/mask_good = 0
p1/mask_bad = 255
p1/mask_edge_pixels = 1
p0/no_index = 0
p0/flag_lessthan = -5
p0/flag_morethan = 900.5
p1/flag_equal = 65535
badlab/min_x = -8.5
badlab/max_x = 4.5
badlab/min_y = 5
badlab/max_y = 1e3
badlab/panel = p1
baddata/min_fs = 2
baddata/max_fs = 4
baddata/min_ss = 3
baddata/max_ss = {SLOW + 1}
group_all = q0,q1
bandwidth = 0.01
% a comment
"""
    return geom_bytes() + more.encode()


def moved_xparm_bytes():
    """An XPARM.XDS of two segments that are turned and shifted."""
    lines = xparm_bytes().decode().split("\n")
    lines[7] = lines[7].replace("         1 ", "         2 ", 1)
    segments = [
        "1 1 3 1 5", "0.5 -0.25 1.0 0.8 0.6 0.0 -0.6 0.8 0.0", "2 4 6 1 4", "0.0 0.1 -0.5 1.0 0.0 0.0 0.0 0.96 0.28",
    ]  # fmt: skip
    return "\n".join([*lines[:12], *segments, ""]).encode()


def mini_cbf_bytes():
    """A miniCBF of Dectris, whose pixels are counted from 0."""
    header = f"""# Detector: PILATUS 300K, S/N 3-0001
# Pixel_size {PIXEL * 1e-3:g} m x {PIXEL * 1e-3:g} m
# Silicon sensor, thickness 0.000320 m
# Count_cutoff 60000 counts
# Wavelength {WAVELENGTH:g} A
# Detector_distance {DISTANCE / 1000:g} m
# Beam_xy (10.0, 10.0) pixels
# Start_angle 10.0000 deg.
# Angle_increment 0.5000 deg.
# Polarization 0.900
"""
    text = f"""###CBF: VERSION 1.5
data_test
_array_data.header_convention "PILATUS_1.2"
_array_data.header_contents
;
{header};
_array_data.data
;
"""
    return text.replace("\n", "\r\n").encode() + _section(np.arange(FAST * SLOW).reshape(SLOW, FAST), 1) + b";\r\n"


def full_cbf_bytes(packed=False):
    """A full CBF: two sections of an array of 2 x SLOW rows, in groups of their own, with the axes of imgCIF.

    packed: the pixels, all 0, are packed.
    """
    axes = "".join(
        f"Q{n} rotation detector DET_R 0 0 1 {0.1 * n:g} 0 0\n"
        f"P{n}_S translation detector Q{n} 0 -1 0 {(-1.0, 0.5)[n]:g} 1 {0.2 * n:g}\n"
        f"P{n}_F translation detector P{n}_S 1 0 0 0 0 0\n"
        for n in (0, 1)
    )
    lists = "".join(f"A P{n} 1 {FAST} 1 increasing P{n}_F\nA P{n} 2 {SLOW} 2 increasing P{n}_S\n" for n in (0, 1))
    sections = "".join(f"A P{n} 1 1 {FAST}\nA P{n} 2 {1 + n * SLOW} {SLOW + n * SLOW}\n" for n in (0, 1))
    steps = "".join(f"P{n}_{d} P{n}_{d} 0.0 {PIXEL:g}\n" for n in (0, 1) for d in "FS")
    text = f"""###CBF: VERSION 1.5
# comment
data_test
loop_
_diffrn_radiation_wavelength.id
_diffrn_radiation_wavelength.wavelength
_diffrn_radiation_wavelength.wt
W1 {WAVELENGTH:g} 1
_diffrn_radiation.polarizn_source_ratio 0.8
_diffrn_radiation.polarizn_source_norm 0.0
loop_
_axis.id _axis.type _axis.equipment _axis.depends_on
_axis.vector[1] _axis.vector[2] _axis.vector[3]
_axis.offset[1] _axis.offset[2] _axis.offset[3]
GON_OMEGA rotation goniometer . 1 0 0 . . .
GON_PHI rotation goniometer GON_OMEGA 0 1 0 . . .
'SOURCE' general source . 0 0 1 . . .
DET_Z translation detector . 0 0 1 0 0 0
DET_R rotation detector DET_Z 0 0 1 0 0 0
{axes}
loop_
_diffrn_scan_axis.scan_id _diffrn_scan_axis.axis_id _diffrn_scan_axis.angle_start _diffrn_scan_axis.angle_range
_diffrn_scan_axis.angle_increment _diffrn_scan_axis.displacement_start
SCAN1 GON_OMEGA 10 0.5 0.5 0
SCAN1 GON_PHI 0 0 0 0
SCAN1 DET_Z 0 0 0 -{DISTANCE:g}
loop_
_diffrn_scan_frame_axis.frame_id _diffrn_scan_frame_axis.axis_id _diffrn_scan_frame_axis.angle
_diffrn_scan_frame_axis.displacement
FRAME1 GON_OMEGA 10.0 .
FRAME1 DET_Z . -{DISTANCE:g}
loop_
_array_structure_list.array_id _array_structure_list.array_section_id _array_structure_list.index
_array_structure_list.dimension _array_structure_list.precedence _array_structure_list.direction
_array_structure_list.axis_set_id
{lists}loop_
_array_structure_list_section.array_id _array_structure_list_section.id _array_structure_list_section.index
_array_structure_list_section.start _array_structure_list_section.end
{sections}loop_
_array_structure_list_axis.axis_set_id _array_structure_list_axis.axis_id _array_structure_list_axis.displacement
_array_structure_list_axis.displacement_increment
{steps}loop_
_array_intensities.array_id _array_intensities.gain _array_intensities.overload _array_intensities.undefined_value
A 2.0 60000 -1
loop_
_array_data.array_id _array_data.binary_id _array_data.data
A 1
;
"""
    pixels = np.arange(2 * FAST * SLOW).reshape(2 * SLOW, FAST)
    return text.replace("\n", "\r\n").encode() + _section(pixels, 1, packed) + b";\r\n"


def _section(pixels, number, packed=False):
    """A binary section of 32-bit integers below 128, differences coded in single bytes; packed: a chunk of 128 zeros."""
    steps = np.diff(pixels.ravel(), prepend=0).astype(np.int8).tobytes()
    if packed:
        steps = pixels.size.to_bytes(8, "little") + bytes(24) + b"\7" + bytes(20)
    header = f"""--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="x-CBF_{"PACKED" if packed else "BYTE_OFFSET"}"
Content-Transfer-Encoding: BINARY
X-Binary-Size: {len(steps)}
X-Binary-ID: {number}
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Element-Byte-Order: LITTLE_ENDIAN
X-Binary-Number-of-Elements: {pixels.size}
X-Binary-Size-Fastest-Dimension: {pixels.shape[1]}
X-Binary-Size-Second-Dimension: {pixels.shape[0]}
X-Binary-Size-Padding: 0

"""
    head = header.replace("\n", "\r\n").encode()
    return head + b"\x0c\x1a\x04\xd5" + steps + b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n"


def write_nexus(path):
    """Write an NXmx master of two modules in groups of their own, and two images of 2 x SLOW rows."""
    import h5py

    with h5py.File(path, "w") as file:
        entry = _group(file, "entry", "NXentry")
        entry["definition"] = "NXmx"
        data = _group(entry, "data", "NXdata")
        data["data"] = np.arange(2 * 2 * SLOW * FAST, dtype="u4").reshape(2, 2 * SLOW, FAST)
        instrument = _group(entry, "instrument", "NXinstrument")
        beam = _group(instrument, "beam", "NXbeam")
        beam["incident_wavelength"] = WAVELENGTH
        beam["incident_wavelength"].attrs["units"] = "angstrom"
        beam["incident_polarization_stokes"] = [1.0, 0.8, 0.0, 0.0]
        detector = _group(instrument, "detector", "NXdetector")
        detector["sensor_thickness"], detector["sensor_material"] = 0.00032, "Si"
        detector["sensor_thickness"].attrs["units"] = "m"
        detector["saturation_value"], detector["underload_value"] = 60000, 0
        mask = np.zeros((2 * SLOW, FAST), dtype="u4")
        mask[:, 1] = 1
        detector["pixel_mask"] = mask
        moves = _group(detector, "transformations", "NXtransformations")
        move(moves, "distance", DISTANCE, "translation", (0, 0, 1), ".", units="mm")
        for n in (0, 1):
            up = "/entry/instrument/detector/transformations"
            move(moves, f"q{n}", 0.0, "rotation", (0, 0, 1), f"{up}/distance", (-1e-4 * n, 0, 0), "deg")
            module = _group(detector, f"module{n}", "NXdetector_module")
            module["data_origin"], module["data_size"] = [n * SLOW, 0], [SLOW, FAST]
            offset = ((1.0, -0.5)[n], 1.0, -0.2 * n)
            move(module, "module_offset", 0.0, "translation", (0, 0, 1), f"{up}/q{n}", offset, "mm")
            move(module, "fast_pixel_direction", PIXEL, "translation", (-1, 0, 0), "module_offset", units="mm")
            move(module, "slow_pixel_direction", PIXEL, "translation", (0, -1, 0), "module_offset", units="mm")
        sample = _group(entry, "sample", "NXsample")
        sample["depends_on"] = "/entry/sample/transformations/omega"
        moves = _group(sample, "transformations", "NXtransformations")
        move(moves, "omega", [10.0, 10.5], "rotation", (-1, 0, 0), ".", units="deg")


def _group(parent, name, kind):
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def move(group, name, value, kind, vector, depends_on, offset=(0, 0, 0), units="m"):
    """A transformation; the offset of a rotation is in m, another in its units."""
    group[name] = value
    attributes = group[name].attrs
    attributes["transformation_type"], attributes["vector"], attributes["depends_on"] = (
        kind,
        np.array(vector, float),
        depends_on,
    )
    attributes["offset"], attributes["units"] = np.array(offset, float), units
    attributes["offset_units"] = "m" if kind == "rotation" else units


def nexus_bytes():
    """The bytes of write_nexus, by way of a file in the working directory."""
    write_nexus("made.nxs")
    return Path("made.nxs").read_bytes()


FILES = {
    "-expt": (expt_bytes, "m.expt"),
    "-xparm": (xparm_bytes, "XPARM.XDS"),
    "-geom": (geom_bytes, "m.geom"),
    "-nexus": (nexus_bytes, "m.nxs"),
    "-img": (mini_cbf_bytes, "m.cbf"),
}
"""A file for each flag: its bytes, and a name."""
