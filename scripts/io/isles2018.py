"""`python -m scripts.io.isles2018` is `ctp-stroke datalist`; see :mod:`scripts.datasets.isles2018`."""

if __name__ == "__main__":
    import runpy
    import sys

    sys.argv[1:1] = ["datalist"]
    runpy.run_module("scripts", run_name="__main__")
