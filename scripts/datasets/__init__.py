"""Public data sets: a module for each layout finds its cases, and all give the same datalist.

A layout module has `NAME`, `SIGN` (the folders by which it is known), `matches(root)` and `find(root)`, which returns
:class:`scripts.datasets.found.Found`.
"""
