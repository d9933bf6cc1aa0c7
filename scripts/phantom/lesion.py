"""Acute strokes as functions of the position in template space.

An occlusion causes hypoperfusion of a region (its arterial territory, or a ball around a distal branch). Inside, a
*score* states how poor the collateral supply of a point is: higher deep inside the territory and near a focus, with
random structure. The points with the highest scores, up to the drawn volume, are the core; the rest of the region is
penumbra. The core on DWI some hours later and the core on perfusion differ by a smooth random field and an offset
(reperfusion, growth, and individual thresholds), so no threshold on the maps finds the label exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .anatomy import load_template
from .fields import SmoothField, sigmoid
from .parameters import StrokeParameters
from .territories import ANCHORS_RIGHT, territory_margin_mm

# Probability, median volume in ml and its log standard deviation of each kind. Sites follow stroke registries
# (Bogousslavsky et al., Stroke 19:1083, 1988: MCA about 2/3 of territorial infarcts); volumes are tuned to ISLES 2018.
OCCLUSIONS: dict[str, tuple[float, float, float]] = {
    "none": (0.08, 0.0, 0.0),
    "ica": (0.05, 90.0, 0.6),
    "m1": (0.31, 42.0, 1.0),
    "m2_superior": (0.13, 20.0, 0.9),
    "m2_inferior": (0.13, 20.0, 0.9),
    "distal": (0.11, 6.0, 0.7),
    "aca": (0.04, 11.0, 0.8),
    "pca": (0.07, 14.0, 0.8),
    "perforator": (0.04, 2.5, 0.5),
    "watershed": (0.04, 6.0, 0.6),
}
_TERRITORIES: dict[str, tuple[str, ...]] = {
    "ica": ("mca_superior", "mca_inferior", "lenticulostriate", "aca"),
    "m1": ("mca_superior", "mca_inferior", "lenticulostriate"),
    "m2_superior": ("mca_superior",),
    "m2_inferior": ("mca_inferior",),
    "aca": ("aca",),
    "pca": ("pca", "thalamic"),
    "watershed": ("mca_superior", "mca_inferior", "lenticulostriate"),
}
_FOCAL_SITES: dict[str, tuple[str, ...]] = {
    "distal": ("mca_superior", "mca_inferior"),
    "perforator": ("lenticulostriate", "thalamic"),
}
_WATERSHED_HALF_WIDTH_MM = 7.0
_REFERENCE_VOXEL_MM = 4
_REFERENCE_Z_MM = (-30.0, 75.0)
_FULL_BORDER_ML = 20.0
_LARGEST_CORE_SHARE = 0.8  # of the starved region
_CRITICAL_REACH = 0.5  # of the score, which falls by 1 in 25 mm: collaterals fail around the core, too
_CRITICAL_SHARPNESS = 2.5


class StrokeEffect(NamedTuple):
    """The effect of a stroke at N points; float32 arrays (N,).

    Attributes:
        flow: CBF relative to healthy tissue.
        volume: CBV relative to healthy tissue.
        delay_s: additional arrival delay.
        starved: 0 to 1, membership of core or penumbra.
        perfusion_core: 0 to 1, core at the time of the CTP.
        diffusion_core: 0 to 1, core on DWI; the label is where it exceeds 0.5.
    """

    flow: NDArray[np.float32]
    volume: NDArray[np.float32]
    delay_s: NDArray[np.float32]
    starved: NDArray[np.float32]
    perfusion_core: NDArray[np.float32]
    diffusion_core: NDArray[np.float32]

    @classmethod
    def absent(cls, n: int) -> StrokeEffect:
        """No stroke at ``n`` points."""
        one, zero = np.ones(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
        return cls(one, one.copy(), zero, zero.copy(), zero.copy(), zero.copy())


class Stroke:
    """One patient's stroke; the same for all scans.

    Attributes:
        core_center_mm: (3,) center of mass of the DWI core in template space; None without a stroke.
    """

    def __init__(self, parameters: StrokeParameters) -> None:
        self.parameters = parameters
        self.core_center_mm: NDArray[np.float64] | None = None
        if parameters.kind == "none":
            return
        rng = np.random.default_rng(parameters.focus_seed)
        self._border_noise = SmoothField.sample(rng, 14.0)
        self._coarse_noise = SmoothField.sample(rng, 22.0)
        self._fine_noise = SmoothField.sample(rng, 9.0)
        self._mismatch_noise = SmoothField.sample(rng, 16.0)
        self._severity_noise = SmoothField.sample(rng, 18.0)
        self._mirror = np.array([1.0 if parameters.side == "right" else -1.0, 1.0, 1.0])
        self._focus_mm = self._choose_focus(rng)
        self._stretch = np.exp(rng.normal(0.0, 0.2, 3))
        self._region_radius_mm = self._choose_radius(rng)
        self._threshold = 0.0
        self._fit_volume()

    def _choose_focus(self, rng: np.random.Generator) -> NDArray[np.float64]:
        kind = self.parameters.kind
        names = _FOCAL_SITES.get(kind) or _TERRITORIES[kind]
        anchors = np.array([anchor for name in names for anchor in ANCHORS_RIGHT[name]], dtype=float)
        # Slabs of CTP lie between the skull base and the vertex.
        candidates = anchors[(anchors[:, 2] > -15) & (anchors[:, 2] < 55)]
        return (candidates[rng.integers(len(candidates))] + rng.normal(0.0, 4.0, 3)) * self._mirror

    def _choose_radius(self, rng: np.random.Generator) -> float:
        """Radius of the hypoperfused ball of a focal occlusion: the core is a random fraction of it."""
        share = rng.uniform(0.2, 0.7)
        return float((self.parameters.target_volume_ml * 1000.0 / share * 3.0 / (4.0 * np.pi)) ** (1 / 3)) + 1.5

    def _margin_mm(self, points_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Signed distance to the border of the hypoperfused region, positive inside, before the random field is
        added.
        """
        kind, side = self.parameters.kind, self.parameters.side
        if kind in _FOCAL_SITES:
            distance_mm = np.linalg.norm((points_mm - self._focus_mm) * self._stretch, axis=-1)
            own_side_mm = points_mm[:, 0] * self._mirror[0]
            return np.minimum(self._region_radius_mm - distance_mm, own_side_mm).astype(np.float32)
        margin_mm = territory_margin_mm(points_mm, _TERRITORIES[kind], side)
        if kind == "watershed":
            own_side_mm = (points_mm[:, 0] * self._mirror[0] - 4.0).astype(np.float32)
            return np.minimum(_WATERSHED_HALF_WIDTH_MM - np.abs(margin_mm), own_side_mm)
        return margin_mm

    def _score(self, points_mm: NDArray[np.float32], margin_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        p = self.parameters
        distance_mm = np.linalg.norm(points_mm - self._focus_mm, axis=-1)
        noise = 0.85 * self._coarse_noise(points_mm) + 0.5 * self._fine_noise(points_mm)
        score = p.deep_preference * np.tanh(margin_mm / 12.0) - distance_mm / 25.0 + p.core_roughness * noise
        return (score + 2.0 * np.minimum(margin_mm / 6.0, 0.0)).astype(np.float32)

    def _starved(self, points_mm: NDArray[np.float32], margin_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        p = self.parameters
        rough_mm = p.border_roughness_mm * (0.4 if p.kind in _FOCAL_SITES else 1.0)
        return sigmoid((margin_mm + rough_mm * self._border_noise(points_mm)) / (0.5 * p.border_mm))

    def _fit_volume(self) -> None:
        """Choose the score of the border of the core so that the core has its volume on a coarse brain grid."""
        points_mm = _reference_points_mm()
        margin_mm = self._margin_mm(points_mm)
        near = margin_mm > -15.0
        points_mm, margin_mm = points_mm[near], margin_mm[near]
        inside = self._starved(points_mm, margin_mm) > 0.5
        scores = self._score(points_mm[inside], margin_mm[inside])
        if not len(scores):
            self._threshold, self.core_center_mm = 0.0, self._focus_mm
            return
        wanted = self.parameters.target_volume_ml * 1000.0 / _REFERENCE_VOXEL_MM**3
        share = min(wanted / len(scores), _LARGEST_CORE_SHARE)
        self._threshold = float(np.quantile(scores, 1.0 - share))
        self.core_center_mm = points_mm[inside][scores >= self._threshold].mean(axis=0).astype(float)

    def effect(self, points_mm: NDArray[np.float32]) -> StrokeEffect:
        """Evaluate the stroke at (N, 3) template positions."""
        effect = StrokeEffect.absent(len(points_mm))
        if self.parameters.kind == "none":
            return effect
        margin_mm = self._margin_mm(points_mm)
        near = np.flatnonzero(margin_mm > -20.0)
        local = self._local_effect(points_mm[near], margin_mm[near])
        for whole, part in zip(effect, local, strict=True):
            whole[near] = part
        return effect

    def _local_effect(self, points_mm: NDArray[np.float32], margin_mm: NDArray[np.float32]) -> StrokeEffect:
        p = self.parameters
        starved = self._starved(points_mm, margin_mm)
        excess = self._score(points_mm, margin_mm) - self._threshold
        mismatch = p.mismatch * self._mismatch_noise(points_mm) + p.mismatch_offset
        # In small lesions the same border width and shift would be a larger fraction of the volume.
        size = min(1.0, (p.target_volume_ml / _FULL_BORDER_ML) ** (1 / 3))
        diffusion_core = sigmoid(excess / (size * p.core_border)) * starved
        perfusion_core = sigmoid((excess + size * mismatch) / (size * p.core_border))
        severity = self._severity_noise(points_mm)
        penumbra_flow = np.clip(p.penumbra_flow + 0.10 * severity - 0.08 * np.minimum(excess, 0.0), 0.3, 0.95)
        flow = 1.0 - starved * (1.0 - penumbra_flow + perfusion_core * (penumbra_flow - p.core_flow))
        volume = 1.0 + starved * (
            (1.0 - perfusion_core) * (p.penumbra_volume_gain - 1.0) + perfusion_core * (p.core_volume_fraction - 1.0)
        )
        graded = 0.55 + 0.45 * sigmoid(margin_mm / 6.0 + 0.5 * severity)
        critical = sigmoid(_CRITICAL_SHARPNESS * (excess + _CRITICAL_REACH))
        delay_s = starved * (p.penumbra_delay_s * graded + critical * p.core_extra_delay_s)
        reopened = p.reperfused_fraction * sigmoid(3.0 * self._coarse_noise(points_mm[:, [1, 0, 2]]))
        return StrokeEffect(
            flow=flow + reopened * (1.0 - flow),
            volume=volume + reopened * (1.0 - volume),
            delay_s=delay_s * (1.0 - reopened),
            starved=starved,
            perfusion_core=perfusion_core * starved,
            diffusion_core=diffusion_core,
        )


def _reference_points_mm() -> NDArray[np.float32]:
    """(N, 3) template positions of brain voxels on a coarse grid, for volumes outside the slab."""
    template = load_template()
    step = _REFERENCE_VOXEL_MM
    brain = template.maps[2, ::step, ::step, ::step].numpy() > 0.5
    points = np.argwhere(brain) * float(step) + template.origin_mm
    return points[(points[:, 2] > _REFERENCE_Z_MM[0]) & (points[:, 2] < _REFERENCE_Z_MM[1])].astype(np.float32)
