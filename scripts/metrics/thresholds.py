"""Clinical baselines: lesion masks by thresholds of the perfusion maps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, generate_binary_structure
from scipy.ndimage import label as connected_components

#: Tissue with a Tmax up to this is the normal reference of relative maps.
NORMAL_TMAX_S = 4.0

#: Smaller clusters are dropped as noise, as perfusion software does; this value is a choice.
MIN_COMPONENT_ML = 1.0

_TITLES = {"cbf": ("CBF", "ml/100 g/min"), "cbv": ("CBV", "ml/100 g"), "mtt": ("MTT", "s"), "tmax": ("Tmax", "s")}


@dataclass(frozen=True)
class ThresholdRule:
    """A lesion predictor that compares one perfusion map with a threshold.

    Attributes:
        key: the map, `cbf`, `cbv`, `mtt` or `tmax`.
        threshold: in the unit of the map; a fraction for a relative rule.
        above: whether the lesion lies above the threshold (MTT, Tmax) or below it (CBF, CBV).
        relative: divide the map by its mean in normal tissue, which is the brain with Tmax up to `NORMAL_TMAX_S`.
        within_tmax_s: only voxels with a Tmax above this.
        min_component_ml: drop connected components (26 neighbors) that are smaller.

    Example:
        >>> str(TMAX_6S), str(RCBF_30)
        ('Tmax > 6 s', 'rCBF < 30 % within Tmax > 6 s')
    """

    key: str
    threshold: float
    above: bool
    relative: bool = False
    within_tmax_s: float | None = None
    min_component_ml: float = MIN_COMPONENT_ML

    def __post_init__(self) -> None:
        if self.key not in _TITLES:
            raise ValueError(f"key: expected one of {list(_TITLES)}, got '{self.key}'")

    def __str__(self) -> str:
        title, unit = _TITLES[self.key]
        sign = ">" if self.above else "<"
        value = f"{100 * self.threshold:g} %" if self.relative else f"{self.threshold:g} {unit}"
        within = "" if self.within_tmax_s is None else f" within Tmax > {self.within_tmax_s:g} s"
        return f"{'r' * self.relative}{title} {sign} {value}{within}"

    def predict(self, maps: Mapping[str, Any], spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
        """Outline the lesion.

        Args:
            maps: the available ones of `cbf`, `cbv`, `mtt` and `tmax`; `key` is required, and `tmax` for a relative
                rule or one within Tmax. Arrays (H, W, D), zero outside the brain.
            spacing_mm: distances between voxels.

        Returns:
            (H, W, D) mask. A relative rule gives an empty mask if there is no normal tissue.
        """
        values = np.asarray(maps[self.key])
        # All maps, not one: the CBF can be zero inside an infarct, too.
        brain = np.any([np.asarray(maps[key]) != 0 for key in _TITLES if maps.get(key) is not None], axis=0)
        threshold = self.threshold
        if self.relative:
            normal = brain & (np.asarray(maps["tmax"]) <= NORMAL_TMAX_S)
            if not normal.any():
                return np.zeros(values.shape, bool)
            threshold *= float(values[normal].mean(dtype=np.float64))
        mask = brain & (values > threshold if self.above else values < threshold)
        if self.within_tmax_s is not None:
            mask &= np.asarray(maps["tmax"]) > self.within_tmax_s
        return drop_small_components(mask, self.min_component_ml, spacing_mm)


#: Hypoperfused tissue, core and penumbra (Olivot et al., Stroke 2009; 40: 469-475).
TMAX_6S = ThresholdRule("tmax", 6.0, above=True)

#: Ischemic core: CBF below 30 % of normal within Tmax > 6 s (Campbell et al., Stroke 2011; 42: 3435-3440).
RCBF_30 = ThresholdRule("cbf", 0.30, above=False, relative=True, within_tmax_s=6.0)

CLINICAL_RULES = (RCBF_30, TMAX_6S)


def threshold_grid() -> list[ThresholdRule]:
    """The single thresholds that `best_rule` tries."""
    relative = np.arange(0.10, 0.901, 0.05).round(2)
    rules = [ThresholdRule("tmax", float(t), above=True) for t in np.arange(3.0, 16.01, 0.5)]
    rules += [ThresholdRule("mtt", float(t), above=True) for t in np.arange(5.0, 20.01, 1.0)]
    for within_tmax_s in (None, 6.0):
        rules += [
            ThresholdRule(key, float(f), above=False, relative=True, within_tmax_s=within_tmax_s)
            for key in ("cbf", "cbv")
            for f in relative
        ]
    return rules


def drop_small_components(
    mask: NDArray[np.bool_], min_component_ml: float, spacing_mm: Sequence[float]
) -> NDArray[np.bool_]:
    """The mask without its connected components (26 neighbors) below a volume in ml."""
    labels, count = connected_components(mask, structure=generate_binary_structure(3, 3))
    if count == 0:
        return mask
    volumes_ml = np.bincount(labels.ravel()) * (float(np.prod(spacing_mm)) / 1000)
    keep = volumes_ml >= min_component_ml
    keep[0] = False
    return keep[labels]


def best_rule(
    cases: Iterable[Mapping[str, Any]], rules: Sequence[ThresholdRule] | None = None
) -> tuple[ThresholdRule, float]:
    """The rule with the highest mean Dice over the cases that have a lesion.

    Cases without a lesion are left out, because they would favor rules that find nothing.

    Args:
        cases: the maps, `label` and `spacing_mm` of each case; iterated once.
        rules: the candidates; default: `threshold_grid`.

    Returns:
        The rule and its mean Dice; of equal rules the first.

    Raises:
        ValueError: there are no rules, or no case has a lesion.
    """
    candidates = threshold_grid() if rules is None else list(rules)
    with_lesion = (_crop_to_brain(case) for case in cases if np.any(case["label"]))
    dice = np.array([[_dice(rule, case) for rule in candidates] for case in with_lesion])
    if dice.size == 0:
        raise ValueError(
            f"cases, rules: expected a case with a lesion and a rule, got {len(dice)} and {len(candidates)}"
        )
    means = dice.mean(axis=0)
    best = int(means.argmax())
    return candidates[best], float(means[best])


def _crop_to_brain(case: Mapping[str, Any]) -> dict[str, Any]:
    """The case, cropped to the brain to save time."""
    images = {key: np.asarray(case[key]) for key in (*_TITLES, "label") if case.get(key) is not None}
    occupied = np.any([image != 0 for image in images.values()], axis=0)
    box = find_objects(occupied.astype(np.uint8))[0]
    return {key: image[box] for key, image in images.items()} | {"spacing_mm": case["spacing_mm"]}


def _dice(rule: ThresholdRule, case: Mapping[str, Any]) -> float:
    prediction = rule.predict(case, case["spacing_mm"])
    label = case["label"].astype(bool)
    return 2 * np.count_nonzero(prediction & label) / (np.count_nonzero(prediction) + np.count_nonzero(label))
