"""The CUDA side, measured: models of Flux-dev's, SDXL's, SD 1.5's and a video model's size, with made-up weights.

    python benchmarks/gpu.py [--minutes M] [--only PART]... [-o FOLDER]
    python benchmarks/gpu.py --tiny        # small pipelines of the same classes: on a CPU too, in minutes

It needs the installed project and an NVIDIA GPU, no network and no weights: what a transformer takes of time and memory
does not depend on what its weights say. The most valuable parts run first, each within its share of the time; the same
command goes on where it stopped. The folder then holds `result.json`, `README.md` to read, the trials of each tuning as
a table that `autotune replay` searches, and what `autotune verify` saw. What this machine lacks is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_page import page
from gpu_parts import (
    Part,
    Place,
    climbed,
    compiled_again,
    family,
    isolation,
    look,
    tuned,
    verified,
)
from gpu_subjects import FLUX, FLUX_LADDER, PLACES, SD15, SDXL, SDXL_LADDER, VIDEO

from autotune.errors import AutotuneError
from autotune.probes.machine import probe
from autotune.search.task import device_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autotune.probes.machine import Machine

RESULTS = Path(__file__).parent / "results" / "gpu"
FEWEST_S = 5.0  # a part that has less is not begun

PARTS = (
    Part("machine", "What is here, and can a trial's process use it?", 1, look),
    Part("flux-dev-ladder", "What does each published step buy?", 10, partial(climbed, FLUX, FLUX_LADDER)),
    Part("flux-dev", "Which plan does a tuning find?", 20, partial(tuned, FLUX)),
    Part("sdxl-ladder", "What does each published step buy?", 7, partial(climbed, SDXL, SDXL_LADDER)),
    Part("sdxl", "Which plan does a tuning find?", 12, partial(tuned, SDXL)),
    Part("isolation", "Does a trial that fails harm another?", 2, isolation),
    Part("flux-dev-places", "Where may weights lie, and what does it cost?", 8, partial(climbed, FLUX, PLACES)),
    Part("flux-dev-family", "Which plans fit smaller cards?", 12, partial(family, FLUX)),
    Part("verify", "Does every knob do what the table says?", 12, verified),
    Part("sdxl-again", "What does kept code save?", 3, compiled_again),
    Part("sd15", "Which plan does a tuning find?", 5, partial(tuned, SD15)),
    Part("wan21-1.3b", "Which plan does a tuning find?", 8, partial(tuned, VIDEO)),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, and return 0; 1 where one of them failed."""
    options = _options(arguments)
    machine = probe()
    if device_of(machine) != "cuda" and not options.tiny:
        notes = " ".join(machine.notes) or "`autotune probe` says what is here."
        sys.exit(f"This measures an NVIDIA GPU, and none is seen here: {notes} With --tiny it rehearses on the CPU.")
    folder: Path = options.output
    (folder / "home").mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("/home/\n", encoding="utf-8")
    os.environ["AUTOTUNE_HOME"] = str((folder / "home").resolve())
    parts = [part for part in PARTS if not options.only or part.name in options.only]
    results = _read(folder, machine, tiny=options.tiny)
    place = Place(folder, machine, options.tiny)
    return run(parts, place, results, time.monotonic() + 60 * options.minutes)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=90, help="wall time of this sitting, as far as parts can be cut"
    )
    parser.add_argument("--only", action="append", choices=[part.name for part in PARTS], help="can be repeated")
    parser.add_argument("--tiny", action="store_true", help="small pipelines in the place of the models")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="the folder of the results")
    return parser.parse_args(arguments)


def run(parts: list[Part], place: Place, results: dict[str, Any], deadline: float) -> int:
    """Run what is not done yet, write what was found after each part, and return 1 where one failed."""
    failed = 0
    todo = [part for part in parts if not results["parts"].get(part.name, {}).get("done")]
    for number, part in enumerate(todo):
        now = time.monotonic()
        if now + FEWEST_S > deadline:
            print(f"{part.name}: not begun, the time is over (the same command goes on)", flush=True)
            continue
        share = part.weight / sum(each.weight for each in todo[number:])
        print(f"== {part.name}: {part.asks} ({share * (deadline - now):.0f} s)", flush=True)
        until = now + share * (deadline - now)
        for found in _attempted(part, place, until, results["parts"].get(part.name, {})):
            results["parts"][part.name] = found
            _write(place.folder, results)
        failed = failed or int("error" in results["parts"].get(part.name, {}))
        if failed and part is PARTS[0]:
            break  # no trial can use the device, so nothing else can be measured
    return failed


def _attempted(part: Part, place: Place, deadline: float, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a part finds. One that fails must not take the others' time: it says how, and is tried again."""
    started, took_s, error = time.monotonic(), before.get("took_s", 0.0), ""
    found = before = {name: value for name, value in before.items() if name != "error"}
    try:
        for found in part.run(place, deadline, before):
            yield {**found, "took_s": took_s + time.monotonic() - started}
    except AutotuneError as failure:
        error = str(failure)
    except Exception as failure:  # noqa: BLE001 - whatever a GPU or its libraries do
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"[:1000]
    if error:
        print(f"{part.name}: {error}", file=sys.stderr, flush=True)
        yield {**found, "done": False, "error": error, "took_s": took_s + time.monotonic() - started}


def _read(folder: Path, machine: Machine, *, tiny: bool) -> dict[str, Any]:
    """Return the results so far; those of a rehearsal and of the models, or of two machines, are never mixed."""
    file = folder / "result.json"
    scope = f"{machine.fingerprint} {machine.software.key}"
    results: dict[str, Any] = {"schema_version": 1, "tiny": tiny, "scope": scope, "parts": {}}
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["tiny"] != tiny:
            sys.exit(f"{file} is of {'a rehearsal' if found['tiny'] else 'the models'}: give another folder with -o.")
        if found["scope"] != scope:
            sys.exit(
                f"{file} is of another machine, or of other versions of the libraries: give another folder with -o."
            )
        results = found
    return results


def _write(folder: Path, results: dict[str, Any]) -> None:
    draft = folder / "result.json.draft"
    draft.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / "result.json")
    (folder / "README.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
