"""`python -m datachan` is the `datachan` command."""

import sys

from datachan.cli import main

if __name__ == "__main__":
    sys.exit(main())
