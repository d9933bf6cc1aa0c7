"""Hostile and damaged input, built by functions that a campaign can call in numbers."""
