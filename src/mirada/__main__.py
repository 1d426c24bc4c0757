"""``python -m mirada``."""

from __future__ import annotations

from mirada.cli.main import main

if __name__ == "__main__":
    main()
