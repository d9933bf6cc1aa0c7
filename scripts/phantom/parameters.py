"""The random parameters of a case, as frozen dataclasses with units in the names; sampling is separate from use.

A *subject* (head, stroke and confounders) is shared by all scans of a patient; a *scan* (pose, grid, bolus, noise,
vendor processing, DWI) is drawn anew for each. Ranges that come from ISLES 2018 are those of Wang et al. 2020, section
4: 43-64 frames 1-2 s apart, 2-22 slices (mean 5.34) 4-12 mm apart (mean 9.48), pixels of 0.80-1.04 mm.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gamma_variate import width_s
from .geometry import ORIENTATION_SIGNS

_BASELINE_FRAMES = 5
_PEAK_TO_NOISE = 25.0  # protocols with little contrast medium use more dose
_WIDTH_S = (4.0, 6.5, 12.0)  # of the arterial curve at half maximum: least, mode, most
_USUAL_WIDTH_S, _USUAL_PEAK_HU = 7.0, 240.0
_SHORTEST_SERIES_S = 45.0
_PEAK_LIMITS_HU = (80.0, 450.0)
FIELD_OF_VIEW_PIXELS = 256  # ISLES 2018: pixel sizes are quoted for a 256 x 256 matrix


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _lognormal(rng: np.random.Generator, median: float, sigma: float, low: float, high: float) -> float:
    return float(np.clip(median * np.exp(sigma * rng.standard_normal()), low, high))


def _triple(values: NDArray[np.floating]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


@dataclass(frozen=True)
class SubjectParameters:
    """Head and healthy tissue of a patient.

    Blood flow and volume of normal tissue in the middle of the ranges: gray 60 ml/100 g/min and 4 ml/100 g, white 25
    and 2 (Leenders et al., Brain 113:27, 1990; Ito et al., Eur J Nucl Med 31:635, 2004). Attenuation: gray 37, white
    29, fluid 8 HU (unenhanced head CT; Bushberg, The Essential Physics of Medical Imaging, 3rd ed. 2012).
    """

    deformation_seed: int
    head_scale: tuple[float, float, float]
    coarse_lattice_mm: float
    coarse_deformation_mm: float
    fine_lattice_mm: float
    fine_deformation_mm: float
    atrophy_power: float
    sharpness_power: float
    skull_gap_mm: float
    skull_thickness_mm: float
    scalp_thickness_mm: float
    gray_cbf_ml_100g_min: float
    white_cbf_ml_100g_min: float
    gray_cbv_ml_100g: float
    white_cbv_ml_100g: float
    gray_hu: float
    white_hu: float
    fluid_hu: float
    skull_hu: float
    pial_share: float
    pial_seed: int
    texture_seed: int
    flow_texture: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> SubjectParameters:
        """Draw a patient's head."""
        size = rng.normal(1.0, 0.03)
        gray_cbf, gray_cbv = _uniform(rng, 48, 72), _uniform(rng, 3.4, 4.8)
        return cls(
            deformation_seed=_seed(rng),
            head_scale=_triple(np.clip(size + rng.normal(0.0, 0.025, 3), 0.92, 1.08)),
            coarse_lattice_mm=_uniform(rng, 28, 45),
            coarse_deformation_mm=_uniform(rng, 1.5, 3.0),
            fine_lattice_mm=_uniform(rng, 10, 15),
            fine_deformation_mm=_uniform(rng, 0.7, 1.4),
            atrophy_power=_uniform(rng, 1.0, 2.6),
            sharpness_power=_uniform(rng, 1.2, 2.2),
            skull_gap_mm=_uniform(rng, 0.5, 2.5),
            skull_thickness_mm=_uniform(rng, 5.0, 9.0),
            scalp_thickness_mm=_uniform(rng, 3.5, 8.0),
            gray_cbf_ml_100g_min=gray_cbf,
            white_cbf_ml_100g_min=gray_cbf * _uniform(rng, 0.36, 0.48),
            gray_cbv_ml_100g=gray_cbv,
            white_cbv_ml_100g=gray_cbv * _uniform(rng, 0.45, 0.6),
            gray_hu=_uniform(rng, 35, 39),
            white_hu=_uniform(rng, 27, 31),
            fluid_hu=_uniform(rng, 4, 12),
            skull_hu=_uniform(rng, 800, 1500),
            pial_share=_uniform(rng, 0.2, 0.8),
            pial_seed=_seed(rng),
            texture_seed=_seed(rng),
            flow_texture=_uniform(rng, 0.04, 0.12),
        )


@dataclass(frozen=True)
class StrokeParameters:
    """Occlusion and its consequences; see `scripts.phantom.lesion` for how they act.

    ``kind`` is a key of `scripts.phantom.lesion.OCCLUSIONS`. Volumes follow ISLES 2018: median about 15 ml, from
    below 1 ml to hemispheric. Flow thresholds: infarction below 30 % of normal flow (Campbell et al., Stroke 42:3435,
    2011), hypoperfusion where Tmax exceeds 6 s (Olivot et al., Stroke 40:469, 2009). The delays of penumbra and core
    together reach beyond 12 s: of the tissue above 6 s in occlusions of large vessels, the median fraction above 10 s
    (the hypoperfusion intensity ratio) is 0.4 (Olivot et al., Stroke 45:1018, 2014; quartiles of thrombectomy
    candidates 0.2 and 0.5: Guenego et al., Stroke 50:917, 2019).
    """

    kind: str
    side: str
    focus_seed: int
    target_volume_ml: float
    border_mm: float
    border_roughness_mm: float
    core_border: float
    deep_preference: float
    core_roughness: float
    penumbra_flow: float
    core_flow: float
    core_volume_fraction: float
    penumbra_volume_gain: float
    penumbra_delay_s: float
    core_extra_delay_s: float
    mismatch: float
    mismatch_offset: float
    reperfused_fraction: float
    core_edema_hu: float

    @classmethod
    def sample(cls, rng: np.random.Generator, kinds: dict[str, tuple[float, float, float]]) -> StrokeParameters:
        """Draw a stroke.

        Args:
            rng: source of randomness.
            kinds: for each kind its probability, the median of its volume in ml and the log standard deviation.
        """
        names = list(kinds)
        kind = names[int(rng.choice(len(names), p=[kinds[name][0] for name in names]))]
        _, median_ml, sigma = kinds[kind]
        return cls(
            kind=kind,
            side="right" if rng.random() < 0.5 else "left",
            focus_seed=_seed(rng),
            target_volume_ml=_lognormal(rng, median_ml, sigma, 0.4, 260.0) if median_ml else 0.0,
            border_mm=_uniform(rng, 2.0, 5.0),
            border_roughness_mm=_uniform(rng, 2.0, 5.0),
            core_border=_uniform(rng, 0.06, 0.22),
            deep_preference=_uniform(rng, 0.3, 1.2),
            core_roughness=_uniform(rng, 0.5, 1.0),
            penumbra_flow=_uniform(rng, 0.48, 0.80),
            core_flow=_uniform(rng, 0.06, 0.26),
            core_volume_fraction=_uniform(rng, 0.15, 0.50),
            penumbra_volume_gain=_uniform(rng, 0.95, 1.25),
            penumbra_delay_s=float(rng.triangular(1.5, 3.0, 7.0)),
            core_extra_delay_s=float(rng.triangular(3.0, 8.0, 14.0)),
            mismatch=_uniform(rng, 0.06, 0.24),
            mismatch_offset=float(rng.normal(0.0, 0.12)),
            reperfused_fraction=_uniform(rng, 0.3, 0.8) if rng.random() < 0.08 else 0.0,
            core_edema_hu=_uniform(rng, 1.5, 6.0),
        )


@dataclass(frozen=True)
class ConfounderParameters:
    """Findings that look like ischemia on a map and are not an acute lesion.

    Attributes:
        old_infarct_radius_mm: zero for none; a fluid-like defect with little flow and volume.
        old_infarct_seed: seed of its position.
        carotid_delay_s: delay of one hemisphere by a carotid stenosis, with nearly normal flow.
        carotid_side: side of the stenosis.
        carotid_flow: flow of that hemisphere relative to normal.
        leukoaraiosis: 0 to 1, loss of flow and attenuation of the white matter around the ventricles.
    """

    old_infarct_radius_mm: float
    old_infarct_seed: int
    carotid_delay_s: float
    carotid_side: str
    carotid_flow: float
    leukoaraiosis: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> ConfounderParameters:
        """Draw the findings, independent of the stroke and of each other."""
        infarct, delay, white_matter = rng.random(3)
        return cls(
            old_infarct_radius_mm=_lognormal(rng, 9.0, 0.5, 4.0, 24.0) if infarct < 0.14 else 0.0,
            old_infarct_seed=_seed(rng),
            carotid_delay_s=_uniform(rng, 1.5, 5.0) if delay < 0.10 else 0.0,
            carotid_side="right" if rng.random() < 0.5 else "left",
            carotid_flow=_uniform(rng, 0.85, 1.0),
            leukoaraiosis=_uniform(rng, 0.2, 1.0) if white_matter < 0.35 else 0.0,
        )


@dataclass(frozen=True)
class PoseParameters:
    """Pose of the head in the scanner: rotation about x, y, z, and position of the origin of the template."""

    head_rotation_deg: tuple[float, float, float]
    table_position_mm: tuple[float, float, float]

    @classmethod
    def sample(cls, rng: np.random.Generator) -> PoseParameters:
        """Draw a pose."""
        return cls(
            head_rotation_deg=_triple(rng.normal(0.0, (5.0, 2.5, 4.0))),
            table_position_mm=(_uniform(rng, -8, 8), _uniform(rng, -8, 8), _uniform(rng, -60, 60)),
        )


@dataclass(frozen=True)
class GridParameters:
    """Slices and pixels of a scan. ``slab_jitter_mm`` moves the slab away from the position centered on the lesion."""

    n_slices: int
    slice_spacing_mm: float
    pixel_mm: float
    orientation: str
    tilt_deg: tuple[float, float, float]
    slab_jitter_mm: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> GridParameters:
        """Draw a scanner's coverage: few thick slices, a toggled table, or the whole brain."""
        coverage = rng.random()
        if coverage < 0.32:
            n_slices, spacing_mm = 2, _uniform(rng, 10, 12)
        elif coverage < 0.62:
            n_slices, spacing_mm = int(rng.integers(3, 5)), _uniform(rng, 9, 12)
        elif coverage < 0.93:
            n_slices, spacing_mm = int(rng.integers(6, 9)), _uniform(rng, 7, 12)
        else:
            n_slices, spacing_mm = int(rng.integers(14, 23)), _uniform(rng, 4, 6)
        oblique = rng.random() < 0.3
        return cls(
            n_slices=n_slices,
            slice_spacing_mm=spacing_mm,
            pixel_mm=_uniform(rng, 0.80, 1.04),
            orientation=list(ORIENTATION_SIGNS)[int(rng.integers(len(ORIENTATION_SIGNS)))],
            tilt_deg=_triple(rng.uniform(-1.0, 1.0, 3) * (15.0, 3.0, 3.0) * oblique),
            slab_jitter_mm=float(rng.normal(0.0, min(6.0, 0.2 * n_slices * spacing_mm))),
        )


@dataclass(frozen=True)
class BolusParameters:
    """Arterial input, tissue residue and venous outflow; see `scripts.phantom.hemodynamics`.

    The first pass is a gamma variate (Thompson et al., Circ Res 14:502, 1964) with a shape as used for perfusion
    phantoms (Calamante et al., Magn Reson Med 44:466, 2000: r = 3, b = 1.5 s, which is 6.3 s wide at half maximum).
    Injections of 40-50 ml at 4-6 ml/s last 7-12 s, and the passage of heart and lungs widens the bolus more if the
    cardiac output is low (Bae, Radiology 256:32, 2010): curves are 4 to 12 s wide. At the same dose the area is
    constant, so a wider curve is lower.
    """

    arrival_s: float
    peak_hu: float
    shape: float
    scale_s: float
    recirculation_delay_s: float
    recirculation_fraction: float
    recirculation_widening: float
    washout_fraction: float
    residue: str
    venous_transit_s: float
    venous_gain: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> BolusParameters:
        """Draw an injection; the recirculated fraction and delay are those of the first pass in CT."""
        arrival_s = _uniform(rng, 5.0, 13.0)
        dose = _lognormal(rng, 1.0, 0.38, 0.0, math.inf)
        shape, fwhm_s = _uniform(rng, 2.4, 4.0), float(rng.triangular(*_WIDTH_S))
        return cls(
            arrival_s=arrival_s,
            peak_hu=float(np.clip(dose * _USUAL_PEAK_HU * _USUAL_WIDTH_S / fwhm_s, *_PEAK_LIMITS_HU)),
            shape=shape,
            scale_s=fwhm_s / width_s(shape, 1.0),
            recirculation_delay_s=_uniform(rng, 8.0, 13.0),
            recirculation_fraction=_uniform(rng, 0.12, 0.28),
            recirculation_widening=_uniform(rng, 1.4, 2.0),
            washout_fraction=_uniform(rng, 0.03, 0.09),
            residue=("exponential", "gamma", "box")[int(rng.choice(3, p=(0.65, 0.25, 0.10)))],
            venous_transit_s=_uniform(rng, 4.5, 7.5),
            venous_gain=_uniform(rng, 0.85, 1.05),
        )


@dataclass(frozen=True)
class AcquisitionParameters:
    """Frames, noise and motion of a series; noise of 2-8 HU (at 256 x 256 pixels) as in clinical CTP at 80 kV."""

    n_frames: int
    frame_interval_s: float
    noise_hu: float
    noise_correlation_px: float
    noise_seed: int
    drift_mm: float
    jerk_mm: float
    jerk_deg: float
    skull_stripped: bool
    cupping_hu: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> AcquisitionParameters:
        """Draw an acquisition of at least 45 s, which shows the first pass, but not the end of a late, broad one."""
        restless = rng.random() < 0.3
        n_frames = int(np.clip(np.rint(43 + rng.exponential(4.5)), 43, 64))
        interval_s = float(rng.choice([1.0, 1.0, 1.0, 1.2, 1.5, 1.7, 2.0]))
        return cls(
            n_frames=max(n_frames, math.ceil(_SHORTEST_SERIES_S / interval_s) + 1),
            frame_interval_s=interval_s,
            noise_hu=_lognormal(rng, 4.0, 0.35, 2.0, 8.0),
            noise_correlation_px=_uniform(rng, 0.45, 0.9),
            noise_seed=_seed(rng),
            drift_mm=_uniform(rng, 0.0, 0.4),
            jerk_mm=_uniform(rng, 0.3, 1.2) if restless else _uniform(rng, 0.0, 0.2),
            jerk_deg=_uniform(rng, 0.2, 1.2) if restless else _uniform(rng, 0.0, 0.1),
            skull_stripped=bool(rng.random() < 0.5),
            cupping_hu=_uniform(rng, 0.0, 2.0),
        )


#: Fraction of each deconvolution method among vendors (a choice), and the range of its regularization. Thresholds of 20
#: % (sSVD, Ostergaard et al. 1996) and 10 % (bcSVD, Wu et al. 2003) are usual; oSVD adapts to each curve.
VENDOR_METHODS: dict[str, tuple[float, tuple[float, float] | None]] = {
    "ssvd": (0.2, (0.10, 0.25)),
    "bcsvd": (0.3, (0.05, 0.15)),
    "osvd": (0.25, None),
    "wiener": (0.25, (0.05, 0.20)),
}


def vendor_method(position: float) -> tuple[str, float | None]:
    """The method and the regularization at a position in [0, 1), of which each method has a fraction."""
    ends = np.cumsum([share for share, _ in VENDOR_METHODS.values()])
    index = int(np.searchsorted(ends[:-1], position, side="right"))
    method = list(VENDOR_METHODS)[index]
    share, limits = VENDOR_METHODS[method]
    if limits is None:
        return method, None
    return method, float(np.interp(position, (ends[index] - share, ends[index]), limits))


@dataclass(frozen=True)
class VendorParameters:
    """How the software of the scanner computes maps; see `scripts.phantom.maps`.

    Products differ in their deconvolution, and therefore in their maps of the same series (Kudo et al., Radiology
    254:200, 2010): methods that underestimate delayed flow (``ssvd``), and those that do not (``bcsvd``, ``osvd``,
    ``wiener``).

    Attributes:
        method: a key of `VENDOR_METHODS`.
        regularization: of the method: the least relative singular value (``ssvd``, ``bcsvd``) or the relative noise
            (``wiener``), or the method's default if None; ``osvd`` chooses its own for each curve.
    """

    smoothing_mm: float
    map_smoothing_mm: float
    time_smoothing_frames: float
    method: str
    regularization: float | None
    aif_partial_volume: float
    aif_timing_error_s: float
    venous_correction: bool
    scale_error: float
    hides_fluid: bool
    hides_vessels: bool
    cbf_limit_ml_100g_min: float
    cbv_limit_ml_100g: float
    mtt_limit_s: float
    tmax_limit_s: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> VendorParameters:
        """Draw a vendor."""
        smoothing_mm, map_smoothing_mm = _uniform(rng, 1.3, 3.0), _uniform(rng, 0.3, 1.2)
        time_smoothing_frames = _uniform(rng, 0.0, 0.8)
        method, regularization = vendor_method(float(rng.random()))
        return cls(
            smoothing_mm=smoothing_mm,
            map_smoothing_mm=map_smoothing_mm,
            time_smoothing_frames=time_smoothing_frames,
            method=method,
            regularization=regularization,
            aif_partial_volume=_uniform(rng, 0.5, 1.0) if rng.random() < 0.85 else _uniform(rng, 0.15, 0.5),
            aif_timing_error_s=_uniform(rng, -2.0, 2.0) if rng.random() < 0.12 else 0.0,
            venous_correction=bool(rng.random() < 0.8),
            scale_error=_uniform(rng, 0.85, 1.15),
            hides_fluid=bool(rng.random() < 0.4),
            hides_vessels=bool(rng.random() < 0.5),
            cbf_limit_ml_100g_min=_uniform(rng, 120, 250),
            cbv_limit_ml_100g=_uniform(rng, 12, 30),
            mtt_limit_s=_uniform(rng, 15, 25),
            tmax_limit_s=_uniform(rng, 12, 25),
        )


@dataclass(frozen=True)
class DwiParameters:
    """Contrast and noise of the diffusion-weighted image (b = 1000 s/mm2), relative to gray matter = 1.

    Acute infarcts are about 1.4-2.6 times as bright as normal tissue on DWI (Lansberg et al., AJNR 21:440, 2000).
    """

    gray: float
    white: float
    fluid: float
    lesion_gain: float
    leukoaraiosis_gain: float
    noise: float
    blur_mm: float
    bias: float
    gain: float
    seed: int
    residual_scalp: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> DwiParameters:
        """Draw an MR scanner."""
        return cls(
            gray=1.0,
            white=_uniform(rng, 0.72, 0.92),
            fluid=_uniform(rng, 0.12, 0.35),
            lesion_gain=_uniform(rng, 0.45, 1.6),
            leukoaraiosis_gain=_uniform(rng, 0.05, 0.25),
            noise=_uniform(rng, 0.02, 0.07),
            blur_mm=_uniform(rng, 0.6, 1.3),
            bias=_uniform(rng, 0.03, 0.12),
            gain=_lognormal(rng, 300.0, 0.8, 40.0, 3000.0),
            seed=_seed(rng),
            residual_scalp=_uniform(rng, 0.0, 0.35),
        )


@dataclass(frozen=True)
class PatientParameters:
    """The parameters that all scans of a patient have in common."""

    subject: SubjectParameters
    stroke: StrokeParameters
    confounders: ConfounderParameters

    @classmethod
    def sample(cls, rng: np.random.Generator, kinds: dict[str, tuple[float, float, float]]) -> PatientParameters:
        """Draw a patient; ``kinds`` as in `StrokeParameters.sample`."""
        return cls(SubjectParameters.sample(rng), StrokeParameters.sample(rng, kinds), ConfounderParameters.sample(rng))


@dataclass(frozen=True)
class ScanParameters:
    """The parameters of one scan."""

    pose: PoseParameters
    grid: GridParameters
    bolus: BolusParameters
    acquisition: AcquisitionParameters
    vendor: VendorParameters
    dwi: DwiParameters

    @classmethod
    def sample(cls, rng: np.random.Generator) -> ScanParameters:
        """Draw a scan with at least five frames before contrast arrives, and noise that does not hide tissue."""
        scan = cls(
            PoseParameters.sample(rng),
            GridParameters.sample(rng),
            BolusParameters.sample(rng),
            AcquisitionParameters.sample(rng),
            VendorParameters.sample(rng),
            DwiParameters.sample(rng),
        )
        bolus, acquisition = scan.bolus, scan.acquisition
        arrival_s = max(bolus.arrival_s, _BASELINE_FRAMES * acquisition.frame_interval_s)
        noise_hu = float(np.clip(bolus.peak_hu / _PEAK_TO_NOISE, 2.0, acquisition.noise_hu))
        return replace(
            scan, bolus=replace(bolus, arrival_s=arrival_s), acquisition=replace(acquisition, noise_hu=noise_hu)
        )


def as_json(parameters: PatientParameters | ScanParameters) -> dict[str, Any]:
    """Nested plain dictionaries for JSON."""
    return asdict(parameters)
