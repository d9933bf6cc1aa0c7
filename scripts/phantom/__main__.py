"""`python -m scripts.phantom`: the same as `ctp-stroke phantom`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["phantom"]
    runpy.run_module("scripts", run_name="__main__")
