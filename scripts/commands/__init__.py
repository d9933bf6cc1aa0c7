"""The subcommands of `ctp-stroke`: one module each, with its options, defaults and units.

A module has `NAME`, `EXAMPLES` and `run`, whose signature is the command line. It imports what computes within `run`.
"""
