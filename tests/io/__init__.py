"""Tests of ``scripts.io``."""
