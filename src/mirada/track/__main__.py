"""``python -m mirada.track WORKSPACE``."""

from __future__ import annotations

import sys

from mirada.track.mirror import main

if __name__ == "__main__":
    sys.exit(main())
