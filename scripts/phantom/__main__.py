"""`python -m scripts.phantom`: the same as `ctp-stroke phantom`."""

import sys

from ..cli import main

if __name__ == "__main__":
    sys.exit(main(["phantom", *sys.argv[1:]]))
