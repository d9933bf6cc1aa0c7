"""Codes of what is written: SNOMED CT, DICOM (PS3.16), UCUM, and own ones where none of them has the concept."""

from __future__ import annotations

from pydicom.sr.coding import Code

OWN_SCHEME = "99CTPSTROKE"
"""A scheme whose name begins with 99 is a private one (PS3.16, 8.2)."""

# Segments. SNOMED CT has no concept of a core or of hypoperfused tissue as a finding in an image: the label of the
# segment and the tracking identifier tell them apart.
ABNORMAL = Code("49755003", "SCT", "Morphologically Altered Structure")
INFARCT = Code("55641003", "SCT", "Infarct")
ISCHEMIA = Code("52674009", "SCT", "Ischemia")
BRAIN = Code("12738006", "SCT", "Brain")

# Maps: CID 4108 "Perfusion Model Parameter", which also names the units of blood flow and volume.
BLOOD_FLOW = Code("126390", "DCM", "Absolute Regional Blood Flow")
BLOOD_VOLUME = Code("126391", "DCM", "Absolute Regional Blood Volume")
MEAN_TRANSIT_TIME = Code("113052", "DCM", "Mean Transit Time")
TMAX = Code("113084", "DCM", "Tmax")
PROBABILITY = Code("110854", "DCM", "Fractional Probabilistic Segmentation")

ML_PER_100_G_PER_MIN = Code("ml/(100.g)/min", "UCUM", "ml/(100.g)/min")
ML_PER_100_G = Code("ml/(100.g)", "UCUM", "ml/(100.g)")
SECOND = Code("s", "UCUM", "s")
MILLILITER = Code("ml", "UCUM", "ml")
NO_UNITS = Code("1", "UCUM", "no units")
RATIO_UNIT = Code("{ratio}", "UCUM", "ratio")

# The report.
VOLUME = Code("118565006", "SCT", "Volume")
MISMATCH_VOLUME = Code("mismatch-volume", OWN_SCHEME, "Mismatch volume")
MISMATCH_RATIO = Code("mismatch-ratio", OWN_SCHEME, "Mismatch ratio")
INTENSITY_RATIO = Code("hir", OWN_SCHEME, "Hypoperfusion intensity ratio")
PERFUSION_ANALYSIS = Code("126301", "DCM", "Perfusion analysis by IV Iodinated Contrast CT technique")
COMMENT = Code("121106", "DCM", "Comment")
POSITIVE_INFINITY = Code("114002", "DCM", "Positive Infinity")
NOT_A_NUMBER = Code("114000", "DCM", "Not a number")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
