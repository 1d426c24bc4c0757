"""Every benchmark, one after the other: ``python -m benchmarks [NAME…]``. Without ../shared the photographic ones are
skipped. Keep the machine idle.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SHARED = Path(os.environ.get("MIRADA_SHARED") or Path(__file__).parents[2] / "shared")
DATA, WEIGHTS = SHARED / "data", SHARED / "weights"
COMMANDS: dict[str, list[str]] = {
    "main_job": ["benchmarks.main_job", str(DATA), str(WEIGHTS)],
    "decode": ["benchmarks.decode", str(DATA / "restaurant_dirty" / "photos")],
    "catalog": ["benchmarks.catalog"],
    "duplicates": ["benchmarks.duplicates", str(DATA / "sports15" / "train"), "--n", "2000"],
    "million": ["benchmarks.duplicates", "--synthetic", "1000000", "--planted", "50000"],
    "quality": ["benchmarks.quality", str(DATA / "sports15" / "train"), "--n", "2000"],
    "explore": ["benchmarks.explore"],
}


def main() -> int:
    """Run those asked for; exit status 1 where one failed."""
    failed = 0
    for name in sys.argv[1:] or COMMANDS:
        command = COMMANDS[name]
        print(f"\n== {name} (load {os.getloadavg()[0]:.2f})", flush=True)
        if len(command) > 1 and not Path(command[1]).exists():
            print(f"skipped: {command[1]} is not here (set MIRADA_SHARED)")
            continue
        failed += subprocess.run([sys.executable, "-m", *command], check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
