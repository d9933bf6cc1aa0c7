"""`python -m scripts.perfusion`: the same as `ctp-stroke maps`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["maps"]
    runpy.run_module("scripts", run_name="__main__")
