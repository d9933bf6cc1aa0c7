"""DICOM: the CTP series of a study in, results that a PACS shows out. Needs the extra `dicom`."""
