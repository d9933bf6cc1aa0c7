"""Thresholds of the clinical reading, with their sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadingThresholds:
    """Thresholds of the reading, with the trials that use them."""

    core_rcbf: float = 0.30
    """Flow relative to the other side's, which outlines the core best in Campbell et al., Stroke 2011;42:3435; 0.30 is
    what the trials below took. A published alternative is 0.38 (Cereda et al., J Cereb Blood Flow Metab 2016)."""
    hypoperfusion_s: float = 6.0
    """Tmax (Olivot et al., Stroke 2009;40:469)."""
    further_tmax_s: tuple[float, ...] = (4.0, 8.0, 10.0)
    """Further volumes of delay."""
    severe_s: float = 10.0
    """Tmax of the hypoperfusion intensity ratio (Olivot et al., Stroke 2014;45:1018)."""
    normal_s: float = 4.0
    """Tmax below which tissue counts as normal, for the reference of flow and volume."""
    smallest_ml: float = 1.0
    """Volume of delay below which no side is affected; a choice."""
    lesion_ml: float = 15.0
    """Hypoperfusion below which no trial's flag is met: the smallest mismatch of DEFUSE 3 (Albers et al., NEJM
    2018;378:708). DAWN gives none but asks for an occluded carotid or middle cerebral artery, so it takes the same."""
    ratio_ml: float = 10.0
    """Hypoperfusion below which there is no quotient. A choice: a sphere of 10 ml has a radius of 13 mm, and a border
    that lies 2 mm further out, about a pixel and a half of a usual map, already makes it half as large again."""
    normal_ml: float = 10.0
    """Normal tissue below which there is no reference. A choice: some 1,500 voxels of 0.9 x 0.9 x 8 mm."""
    reference_cbf: tuple[float, float] = (15.0, 90.0)
    """Plausible flow of normal tissue, ml/100 g/min: white matter alone has 22.2 +- 4.9
    and gray matter 54.5 +- 12.3 (Leenders et al., Brain 1990;113:27), and below 20 tissue does not work (Astrup et al.,
    Stroke 1981;12:723). That leaves 1.5 and 3 standard deviations, and more of the whole brain's 40.3 +- 6.4
    (Matthew et al., J Cereb Blood Flow Metab 1993;13:748). A choice."""
    implausible_share: float = 0.5
    """Delayed part of both sides above which this is no stroke. A choice."""
    bilateral_share: float = 0.1
    """Delayed part of the less affected side above which the delay counts as bilateral. A choice."""
    unclear_share: float = 0.5
    """Delayed part of the less affected side over that of the other, above which the side is not certain. A choice:
    below it, errors of a fifth on both sides do not exchange them."""
    carotid_share: float = 0.6
    """Part of the affected side with Tmax above `normal_s`, from which it may be the carotid's territory. A choice:
    about half of a hemisphere belongs to the middle cerebral artery, and about three quarters to the carotid."""
    carotid_cbf: float = 0.8
    """Relative flow of delayed tissue above which it is delayed rather than starved. A choice: Tmax is lengthened by
    the delay of a stenosed artery alone (Calamante et al., Stroke 2010;41:1169)."""
    carotid_cbv: float = 0.9
    """Relative blood volume above which it is preserved. A choice."""
