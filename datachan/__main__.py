"""`python -m datachan` is the `datachan` command."""

from __future__ import annotations

import sys

from datachan.cli import main

if __name__ == "__main__":
    sys.exit(main())
