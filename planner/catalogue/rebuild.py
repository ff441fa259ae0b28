"""Building every model of the catalogue without its weights, to write down what it is made of.

`python -m autotune.planner.catalogue.rebuild [FOLDER]` writes `layers/NAME.json` anew, or into another folder;
`python -m autotune.planner.catalogue.rehearse [NAME...]` does what takes longer: what they take while they compute.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from ... import shapes
from ...probes.build import built
from ...probes.layers import Composition, parsed
from ...probes.model import read_model
from .configurations import folder_of, written

HERE = Path(__file__).parent


def rebuilt(name: str) -> dict[str, Composition]:
    """Return what the components of a model are made of, as the installed libraries build them, in this process.

    Left out are those that another model has too, where they are written there.
    """
    card = read_model(shapes.WEIGHTS if name == "shapes" else folder_of(name), name, weights="none")
    own = [part for part in card.components if _is_owned(name, Path(card.folder) / part.name / "config.json")]
    return {each.name: parsed(built(Path(card.folder) / each.name, each.library, each.class_name)) for each in own}


def _is_owned(name: str, config: Path) -> bool:
    return config.is_file() and "same_as" not in written(name).get(f"{config.parent.name}/{config.name}", {})


def main(folder: Path) -> None:
    """Write the layers of every model into a folder."""
    for name in ["shapes", *sorted(file.stem for file in (HERE / "configurations").glob("*.json"))]:
        found = rebuilt(name)
        if found:
            (folder / f"{name}.json").write_text(_text(found), encoding="utf-8")


def _text(found: Mapping[str, Composition]) -> str:
    """Return compositions as JSON, a line for each layer."""
    parts = []
    for part, whole in found.items():
        rows = [[each.name, each.kind, each.shape, each.count, each.parameters] for each in whole.layers]
        layers = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        blocks = json.dumps([[each.class_name, each.count] for each in whole.blocks])
        parts.append(f'{json.dumps(part)}: {{"blocks": {blocks}, "layers": [\n{layers}]}}')
    return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else HERE / "layers")
