"""A numerical CT-perfusion phantom that writes ISLES 2018 folders: anatomy, strokes, physics, vendor maps and DWI."""

from .case import PhantomCase, simulate_case
from .cohort import generate_cohort, plan_cohort

__all__ = ["PhantomCase", "generate_cohort", "plan_cohort", "simulate_case"]
