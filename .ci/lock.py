"""The hashes of what constraints.txt pins: `python .ci/lock.py REPORT > .ci/lock.txt`.

REPORT is what pip says that it would install, on the kind of machine that the lock is for:

    grep -v '^torch==' constraints.txt > pins.txt
    pip install --dry-run --ignore-installed --no-deps --report REPORT -r pins.txt

    pip install torch==...
    pip install --no-deps --require-hashes -r .ci/lock.txt

The second pair installs from it. torch is left out: its build without CUDA comes from another index than the rest,
under a name of its own, so that its hash is not that of PyPI's, and pip asks for the hash of all or of none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(report: Path) -> None:
    """Print a line for each distribution."""
    content = json.loads(report.read_text(encoding="utf-8"))
    lines = []
    for entry in content["install"]:
        about, archive = entry["metadata"], entry["download_info"]["archive_info"]
        lines.append(f"{about['name']}=={about['version']} --hash=sha256:{archive['hashes']['sha256']}")
    machine = content["environment"]
    sys.stdout.write(
        f"# Python {machine['python_version']} on {machine['sys_platform']} {machine['platform_machine']};"
        " how it is made and used: .ci/lock.py\n"
    )
    sys.stdout.write("\n".join(sorted(lines, key=str.lower)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
