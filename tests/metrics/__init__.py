"""Tests of ``scripts.metrics``."""
