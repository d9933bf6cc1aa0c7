"""Tests, one folder for each package of ``scripts`` and ``bundle``."""
