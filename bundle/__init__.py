"""The maker's side of the bundle: what builds, measures and shows it. Not needed to run it."""
