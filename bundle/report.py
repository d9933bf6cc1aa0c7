"""The former place of `bundle.results_page` and `bundle.markdown`; import from those."""

from .markdown import table as markdown_table
from .results_page import SYNTHETIC

__all__ = ["SYNTHETIC", "markdown_table"]
