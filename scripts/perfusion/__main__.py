"""`python -m scripts.perfusion`: the same as `ctp-stroke maps`."""

import sys

from ..cli import main

if __name__ == "__main__":
    sys.exit(main(["maps", *sys.argv[1:]]))
