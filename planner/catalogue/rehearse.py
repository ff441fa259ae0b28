"""Rehearsing every model of the catalogue, to write down what its parts take while they compute.

`python -m autotune.planner.catalogue.rehearse [NAME...]` writes `demands/NAME.json` anew: for all of them in half an
hour or so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ...errors import ModelError
from ...search.demand import rehearsed, said
from . import find_model
from .entries import shipped

FOLDER = Path(__file__).parent / "demands"


def main(names: list[str]) -> None:
    """Write the demands of these models; of one that cannot be rehearsed, say why and write nothing."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or shipped():
        model = find_model(name, "none")
        try:
            found = rehearsed(model.card, model.workload)
        except ModelError as error:
            sys.stderr.write(f"{error}\n")
            continue
        rows = ",\n".join(json.dumps(row) for row in said(found))
        (FOLDER / f"{name}.json").write_text(f"[{rows}]\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
