"""``python -m integrand`` is the command ``integrand``."""

import sys

from integrand.apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
