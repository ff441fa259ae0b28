"""What is installed with autotune, as a bill of materials: `python .ci/sbom.py [FILE]` writes CycloneDX 1.6 as JSON.

Every distribution that constraints.txt pins is in it, with the licence that it names; one that is not installed, or in
another version, is said on the error output, and the exit code is 1. Nothing is asked of the network.

Source: cyclonedx.org, JSON schema 1.6; github.com/package-url/purl-spec, type pypi.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def pinned() -> dict[str, str]:
    """Return the version of each distribution in constraints.txt, by its name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def table() -> dict[str, str]:
    """Return the licences in CONTRIBUTING.md, for the few that do not name theirs."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-zA-Z0-9_.-]+) \| ([^|]+) \|", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): licence for name, licence in rows}


def component(name: str) -> dict[str, Any]:
    """Return an entry for what is installed. Raises PackageNotFoundError."""
    about, plain = metadata.metadata(name), re.sub(r"[-_.]+", "-", name).lower()
    version = metadata.version(name)
    told = about.get("License-Expression") or about.get("License") or ""
    trove = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    licence = told.partition("\n")[0][:100] or ", ".join(trove) or table().get(plain, "")
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{plain}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{plain}@{version}",
        **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
    }


def bill() -> tuple[dict[str, Any], list[str]]:
    """Return the bill, and in sentences what is not as it is pinned."""
    found, problems = [], []
    for name, version in pinned().items():
        try:
            found.append(component(name))
        except metadata.PackageNotFoundError:
            problems.append(f"{name} {version} is pinned, and not installed.")
            continue
        if found[-1]["version"].partition("+")[0] != version:
            problems.append(f"{name} {version} is pinned, and {found[-1]['version']} is installed.")
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "autotune-diffusers", "bom-ref": "autotune"}},
        "components": found,
    }
    return content, problems


def main() -> None:
    """Write it."""
    content, problems = bill()
    text = json.dumps(content, indent=2) + "\n"
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
