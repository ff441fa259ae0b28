"""What comes with autotune is known: a bill of materials that has every pinned distribution, and its licence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from .test_layout import ROOT, distribution, pinned


def test_the_bill_has_everything_that_is_pinned(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    done = subprocess.run([sys.executable, ROOT / ".ci" / "sbom.py", file], capture_output=True, text=True, check=False)
    content = json.loads(file.read_text())
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    listed = {distribution(part["name"]): part for part in content["components"]}
    missing = {distribution(line) for line in pinned()} - listed.keys()
    assert all(name in done.stderr.lower().replace("_", "-").replace(".", "-") for name in missing)
    assert (done.returncode == 0) is (done.stderr == "")
    assert len(missing) < 10
    assert not [name for name, part in listed.items() if not part.get("licenses")]


def test_the_lock_has_a_hash_of_everything_but_torch() -> None:
    lines = [line for line in (ROOT / ".ci" / "lock.txt").read_text().splitlines() if not line.startswith("#")]
    locked = [re.fullmatch(r"(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}", line) for line in lines]
    found = {f"{distribution(line[1])}=={line[2]}" for line in locked if line}
    wanted = {f"{distribution(name)}=={version}" for name, _, version in (line.partition("==") for line in pinned())}
    assert len(found) == len(lines)
    assert {line for line in wanted if not line.startswith("torch==")} == found, "make it anew: .ci/lock.py"
