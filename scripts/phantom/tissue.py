"""The true state of every voxel: flow, volume, delay, attenuation and lesion, from anatomy, stroke and confounders."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy
from .fields import SmoothField, sigmoid
from .lesion import Stroke
from .parameters import ConfounderParameters, PatientParameters
from .territories import ANCHORS_RIGHT

_LATERAL_VENTRICLE_MM = np.array(
    [(12, 30, 4), (13, 18, 14), (14, 4, 20), (17, -12, 24), (22, -28, 22), (28, -40, 12), (27, -50, 6)],
    dtype=np.float32,
)
_PERIVENTRICULAR_WIDTH_MM = 11.0
_CAROTID_BORDER_MM = 6.0
_NORMAL_DELAY_S = 0.6  # between a large artery and tissue, with a spread over the brain
OLD_INFARCT_FLOW = 0.15
OLD_INFARCT_VOLUME = 0.30


class TissueState(NamedTuple):
    """Truth at the N brain voxels; float32 (N,) unless stated.

    Attributes:
        voxels: (N,) flat indices (C order) into the grid.
        cbf: ml/100 g/min.
        cbv: ml/100 g.
        delay_s: arrival after the large arteries.
        attenuation_hu: HU before contrast.
        starved: 0 to 1, core and penumbra.
        core: 0 to 1, core at the time of the CTP.
        lesion: 0 to 1, core on DWI.
        old_infarct: 0 to 1.
        leukoaraiosis: 0 to 1.
    """

    voxels: NDArray[np.intp]
    cbf: NDArray[np.float32]
    cbv: NDArray[np.float32]
    delay_s: NDArray[np.float32]
    attenuation_hu: NDArray[np.float32]
    starved: NDArray[np.float32]
    core: NDArray[np.float32]
    lesion: NDArray[np.float32]
    old_infarct: NDArray[np.float32]
    leukoaraiosis: NDArray[np.float32]

    def on_grid(
        self, values: NDArray[np.floating], shape: tuple[int, ...], background: float = 0.0
    ) -> NDArray[np.float32]:
        """A volume of ``shape`` with the (N,) values of the brain voxels, and ``background`` elsewhere."""
        volume = np.full(math.prod(shape), background, dtype=np.float32)
        volume[self.voxels] = values
        return volume.reshape(shape)


def build_tissue(anatomy: Anatomy, patient: PatientParameters, stroke: Stroke) -> TissueState:
    """Combine healthy tissue, stroke and confounders at every brain voxel.

    Flow and volume of a voxel are the sums over its gray and white matter; fluid has neither. Edema lowers the
    attenuation of the core by a few HU (Dzialowski et al., J Comput Assist Tomogr 28:585, 2004: about 2-4 HU in the
    first hours).
    """
    subject, confounders = patient.subject, patient.confounders
    voxels = np.flatnonzero(anatomy.brain)
    points_mm = anatomy.mni_mm.reshape(-1, 3)[voxels]
    gray, white, fluid = (m.reshape(-1)[voxels] for m in (anatomy.gray, anatomy.white, anatomy.fluid))
    effect = stroke.effect(points_mm)
    old_infarct = _old_infarct(points_mm, confounders)
    leukoaraiosis = _leukoaraiosis(points_mm, confounders) * white
    hemisphere = _carotid_hemisphere(points_mm, confounders)

    rng = np.random.default_rng(subject.texture_seed)
    texture = 1.0 + subject.flow_texture * np.clip(SmoothField.sample(rng, 12.0)(points_mm), -2.5, 2.5)
    normal_delay_s = _NORMAL_DELAY_S * (1.0 + 0.5 * np.tanh(SmoothField.sample(rng, 30.0)(points_mm)) + 0.8 * white)

    flow = effect.flow * (1.0 - (1.0 - OLD_INFARCT_FLOW) * old_infarct) * (1.0 - 0.45 * leukoaraiosis)
    flow *= 1.0 - hemisphere * (1.0 - confounders.carotid_flow)
    volume = effect.volume * (1.0 - (1.0 - OLD_INFARCT_VOLUME) * old_infarct) * (1.0 - 0.25 * leukoaraiosis)
    tissue_hu = gray * subject.gray_hu + white * (subject.white_hu - 4.0 * leukoaraiosis)
    tissue_hu -= patient.stroke.core_edema_hu * effect.diffusion_core * (gray + white)
    attenuation_hu = tissue_hu + (1.0 - gray - white) * subject.fluid_hu
    attenuation_hu += old_infarct * (subject.fluid_hu + 4.0 - attenuation_hu)
    fluid_share = np.clip(fluid, 0.0, 1.0)
    return TissueState(
        voxels=voxels,
        cbf=(gray * subject.gray_cbf_ml_100g_min + white * subject.white_cbf_ml_100g_min) * flow * texture,
        cbv=(gray * subject.gray_cbv_ml_100g + white * subject.white_cbv_ml_100g) * volume * texture,
        delay_s=(normal_delay_s + effect.delay_s + hemisphere * confounders.carotid_delay_s).astype(np.float32),
        attenuation_hu=attenuation_hu.astype(np.float32),
        starved=effect.starved,
        core=effect.perfusion_core,
        lesion=effect.diffusion_core * (1.0 - old_infarct) * np.clip(2.0 - 2.0 * fluid_share, 0.0, 1.0),
        old_infarct=old_infarct,
        leukoaraiosis=leukoaraiosis,
    )


def _old_infarct(points_mm: NDArray[np.float32], confounders: ConfounderParameters) -> NDArray[np.float32]:
    if confounders.old_infarct_radius_mm == 0:
        return np.zeros(len(points_mm), dtype=np.float32)
    rng = np.random.default_rng(confounders.old_infarct_seed)
    anchors = np.array([a for name in sorted(ANCHORS_RIGHT) for a in ANCHORS_RIGHT[name]], dtype=float)
    anchors = anchors[(anchors[:, 2] > -10) & (anchors[:, 2] < 40)]
    center = (anchors[rng.integers(len(anchors))] + rng.normal(0, 5, 3)) * (rng.choice([-1.0, 1.0]), 1.0, 1.0)
    distance_mm = np.linalg.norm((points_mm - center) * np.exp(rng.normal(0, 0.25, 3)), axis=-1)
    rough_mm = 0.25 * confounders.old_infarct_radius_mm * SmoothField.sample(rng, 10.0)(points_mm)
    return sigmoid((confounders.old_infarct_radius_mm + rough_mm - distance_mm) / 0.7)


def _leukoaraiosis(points_mm: NDArray[np.float32], confounders: ConfounderParameters) -> NDArray[np.float32]:
    """Strength of white matter disease, falling off with the distance from the lateral ventricles."""
    if confounders.leukoaraiosis == 0:
        return np.zeros(len(points_mm), dtype=np.float32)
    folded = np.abs(points_mm * np.array([1, 0, 0], dtype=np.float32)) + points_mm * np.array(
        [0, 1, 1], dtype=np.float32
    )
    squared = np.full(len(points_mm), np.inf, dtype=np.float32)
    for knot in _LATERAL_VENTRICLE_MM:
        np.minimum(squared, ((folded - knot) ** 2).sum(axis=1), out=squared)
    rng = np.random.default_rng(confounders.old_infarct_seed + 1)
    patchy = np.clip(0.7 + 0.5 * SmoothField.sample(rng, 10.0)(points_mm), 0.0, 1.3)
    strength = confounders.leukoaraiosis * np.exp(-squared / (2 * _PERIVENTRICULAR_WIDTH_MM**2)) * patchy
    return np.clip(strength, 0.0, 1.0).astype(np.float32)


def _carotid_hemisphere(points_mm: NDArray[np.float32], confounders: ConfounderParameters) -> NDArray[np.float32]:
    """Membership of the carotid's territory: one side, in front of the posterior circulation."""
    if confounders.carotid_delay_s == 0:
        return np.zeros(len(points_mm), dtype=np.float32)
    side = 1.0 if confounders.carotid_side == "right" else -1.0
    lateral = sigmoid(points_mm[:, 0] * side / (0.5 * _CAROTID_BORDER_MM))
    return lateral * sigmoid((points_mm[:, 1] + 62.0 - 0.2 * points_mm[:, 2]) / _CAROTID_BORDER_MM)
