"""A numerical CT-perfusion phantom that writes ISLES 2018 folders: anatomy, strokes, physics, vendor maps and DWI."""

from .case import PhantomCase, simulate_case
from .cohort import ensure_cohort, generate_cohort, plan_cohort

__all__ = ["PhantomCase", "ensure_cohort", "generate_cohort", "plan_cohort", "simulate_case"]
