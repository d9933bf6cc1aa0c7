"""The bundle's runtime: every class and function that a config names."""
