"""What the findings of the quality control mean for whoever reads the maps, in one sentence each."""

from __future__ import annotations

_MOVED = "The head moved during the scan: borders of the maps may be wrong."
_CURVE = "The arterial curve is unusual: flow, volume and delay depend on it."
_GIVEN = "The maps that came with the case look unusual: check their units and their source."
_NORMAL = "Values of normal tissue are not those of a brain: volumes that compare with it may be wrong."
_TIMES = "The times of the frames are uncertain: every delay and flow depends on them."
_CONTRAST = "Contrast is weak or absent: the maps are noisy at best."
_FRAMES = "Some frames look damaged or repeated: the curves have false steps."
_GRID = "The size of the voxels is unusual or contradictory: volumes in ml depend on it."

PLAIN = {
    # series
    "values": "The series holds values that no CT has.",
    "frame_interval": "Frames are far apart or very close: flow and delay are less exact.",
    "largest_gap": "The series has a long gap: what happened in it is unknown.",
    "duration": "The scan is unusually short or long: late tissue may not be seen.",
    "dead_frames": _FRAMES,
    "dead_slices": "Some slices hold no image: a lesion there is not counted.",
    "repeated_frames": _FRAMES,
    "frame_jump": "The brightness jumps between frames: the curves have false steps.",
    "frame_order": "The frames may be in the wrong order.",
    "reversed_time": "The frames may be in reverse order.",
    "brain_hu": "The brain is brighter or darker than brain is: HU values may be wrong.",
    "tissue_enhancement": _CONTRAST,
    "brain_section": "The brain is unusually small or large: the voxel size may be wrong.",
    "cut_brain": "A part of the brain lies outside of the image: a lesion there is not counted.",
    "pixel_noise": "The images are noisy: borders of the maps are uncertain.",
    "saturation": "Some values are beyond the range of a CT: the arterial curve may be cut.",
    "ceiling": "The brightest vessels are cut off: the arterial curve may be too low and flow too high.",
    "slab_step": "Slices alternate in time, as in a shuttle scan: delays differ between slices.",
    # computed maps
    "no_contrast": _CONTRAST,
    "contrast_to_noise": _CONTRAST,
    "weak_aif": "The arterial curve is low: flow is uncertain.",
    "bright_aif": "The arterial curve is too bright for blood: it may lie in bone or metal.",
    "aif_width": _CURVE,
    "aif_in_bone": "The arterial voxels may lie in bone: flow and delay may be wrong.",
    "no_vof": "No vein was found: the arterial curve is not corrected, and flow and volume may be too high.",
    "partial_volume_aif": "The arterial curve was raised by a large factor: flow and volume are uncertain.",
    "late_contrast": "Contrast came late: the end of the passage may be missing.",
    "missing_baseline": "There are few frames before contrast: enhancement is uncertain.",
    "truncated_series": "The scan ended before the contrast had left: volumes and delays may be too small.",
    "short_after_peak": "The scan ended soon after the arterial peak: severely delayed tissue may be missed.",
    "clipped_aif": "The arterial curve is cut off at the top: flow and volume may be too high.",
    "flat_aif": "The arterial curve is flat at the top, as if cut off.",
    "uncertain_scale": "The scale of flow and volume is uncertain.",
    "motion": _MOVED,
    "lost_frames": "Some frames were left out because the head moved or they hold no image.",
    "passage_gap": "Frames are missing while contrast passes: delays are uncertain.",
    "residual_motion": _MOVED,
    "noise": "The curves are noisy: borders of core and delay are uncertain.",
    "small_coverage": "Only a part of the brain was scanned: volumes are those of this part.",
    "normal_tissue": "Little tissue is normal in time: there is little to compare the flow with.",
    "reference_cbf": _NORMAL,
    "reference_cbv": _NORMAL,
    "reference_mtt": _NORMAL,
    # headers and frame times
    "orientation": "The file does not tell where right and left are.",
    "orientation_conflict": "The file tells two orientations: sides may be exchanged.",
    "orientation_given": "Right and left are those that the user stated, not those of the file.",
    "space_unit": _GRID,
    "pixel": _GRID,
    "slice_distance": _GRID,
    "size_conflict": _GRID,
    "few_slices": "One slice shows the brain: movement along the body and other levels are not seen.",
    "coverage": "The slices cover an unusual height: volumes are those of this part.",
    "header_interval": _TIMES,
    "times_conflict": "Two sources state different frame times: every delay and flow depends on them.",
    "mean_interval": _TIMES,
    # given maps
    **dict.fromkeys(
        (
            *("map_values", "late_tmax", "constant_maps", "negative_values", "central_volume"),
            *("maps_outside", "maps_apart"),
            *(f"{name}_{kind}" for name in ("cbf", "cbv", "mtt", "tmax") for kind in ("range", "agreement")),
        ),
        _GIVEN,
    ),
    "mirrored": "Maps and series may be mirror images of each other: sides may be exchanged.",
}
"""By the name of the check, see `docs/how-to/checks.md`."""


def title_of(name: str) -> str:
    """The name of a finding as a title."""
    words = name.replace("_", " ").strip()
    for short in ("aif", "vof", "cbf", "cbv", "mtt", "hu"):
        words = " ".join(short.upper() if word == short else word for word in words.split())
    return (words[:1].upper() + words[1:]).replace("tmax", "Tmax")
