"""What the verdict says of recipes of `shapes` that change nothing, and of models that were damaged on purpose.

    python benchmarks/shapes_verdicts.py [--table FILE] [--pictures FOLDER] [--only NAME]

Each is tried as in a tuning: images until it is clear, against the unmodified pipeline's, and what is accepted by them
is judged once more as the winner of a tuning is, by the images of all prompts. Damaged models are copies
whose weights were changed: rounded to 4 bits everywhere, a block of the U-Net set to zero, or scaled up before a layer
that scales them down again, so that fp32 does not notice and fp16 overflows. docs/verdicts.md shows the table.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from autotune.planner.request import Request, task_of
from autotune.planner.tune import SPARE_BYTES
from autotune.probes.machine import probe
from autotune.probes.model import ModelCard, read_model
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.measured import Quality, Trial
from autotune.search.recipe import UNMODIFIED, Choice, Recipe

TABLE = Path(__file__).parent / "results" / "shapes_verdicts.csv"
PICTURES = Path(__file__).parents[1] / "docs" / "verdicts"
SHOWN = 4  # the first prompts: none is picked
HUGE = 1e6  # more than fp16 can hold, and nothing to fp32

Weights = dict[str, Any]
Damage = Callable[[str, Weights], None]
"""Changes the weights of a component, by its name, in place."""


def rounded(_: str, weights: Weights) -> None:
    """Round every matrix and kernel to the 15 values that 4 bits have around zero, with one scale a tensor."""
    for tensor in weights.values():
        if tensor.ndim > 1:
            scale = tensor.abs().max() / 7
            tensor.copy_((tensor / scale).round() * scale)


def zeroed(component: str, weights: Weights) -> None:
    """Set the U-Net's innermost up block to zero."""
    for name, tensor in weights.items():
        if component == "unet" and name.startswith("up_blocks.0."):
            tensor.zero_()


def overflowing(component: str, weights: Weights) -> None:
    """Scale what enters the VAE's decoder up, and down again: the product is what it was."""
    if component == "vae":
        for name in ("post_quant_conv.weight", "post_quant_conv.bias"):
            weights[name] *= HUGE
        weights["decoder.conv_in.weight"] /= HUGE


@dataclass(frozen=True)
class Case:
    """A recipe, of the model as it is or of a damaged copy; `recipe` must be another one for each case."""

    name: str
    recipe: dict[str, Choice]
    expected: str
    damage: Damage | None = None


CASES = (
    Case("channels last", {"memory_format": "channels_last"}, "accepted"),
    Case("attention without SDPA", {"attention": "eager"}, "accepted"),
    Case("compiled", {"compile": "full"}, "accepted"),
    Case("scaled for an overflow, in fp32", {"fuse_qkv": True}, "accepted", overflowing),
    Case("scaled for an overflow, in fp16", {"precision": "fp16"}, "refused", overflowing),
    Case("merged tokens, 0.75", {"tome_ratio": 0.75}, "accepted"),  # stars are deformed, which no score minds
    Case("all weights in 4 bits", {"fuse_qkv": True, "memory_format": "channels_last"}, "refused", rounded),
    Case("a zeroed block", {"fuse_qkv": True, "attention": "eager"}, "refused", zeroed),
)


@dataclass(frozen=True)
class Row:
    """What became of a case. Differences are in points of the CLIP score, over `images`.

    `looked` are those after which the trial was clear.
    """

    name: str
    expected: str
    verdict: str
    outcome: str
    looked: int
    images: int
    difference: float = math.nan
    bound: float = math.nan
    worst: float = math.nan
    ssim: float = math.nan
    psnr: float = math.nan
    tier: str = ""
    detail: str = ""


def damaged(folder: Path, damage: Damage, place: Path) -> Path:
    """Write a copy of a pipeline with other weights into `place`."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, place)
    for file in place.rglob("*.safetensors"):
        weights = {name: tensor.float() for name, tensor in load_file(file).items()}  # kept in fp16, computed in fp32
        damage(file.parent.name, weights)
        save_file(weights, file, metadata={"format": "pt"})
    return place


def row_of(case: Case, trial: Trial, confirmed: Quality | None, tolerance: float) -> Row:
    """Return what a trial says, and the images of all prompts where the trial's had accepted it."""
    quality = confirmed or trial.quality
    if quality is None:
        return Row(case.name, case.expected, "refused", trial.outcome, 0, 0, detail=trial.detail[:100])
    return Row(
        name=case.name,
        expected=case.expected,
        verdict="accepted" if confirmed and confirmed.shortfall(tolerance) <= 0 else "refused",
        outcome=trial.outcome,
        looked=len(trial.quality.scores) if trial.quality else 0,
        images=len(quality.scores),
        difference=fmean(quality.differences),
        bound=quality.bound,
        worst=min(quality.differences),
        ssim=quality.ssim or math.nan,
        psnr=fmean(quality.psnr),
        tier=quality.tier or "none",
    )


def keep_pictures(files: dict[int, Path], folder: Path, name: str) -> None:
    """Write the images of the first prompts side by side, small."""
    from PIL import Image

    images = [Image.open(files[index]).convert("RGB").resize((96, 96)) for index in range(SHOWN) if index in files]
    if not images:
        return
    sheet = Image.new("RGB", (96 * len(images), 96))
    for place, image in enumerate(images):
        sheet.paste(image, (96 * place, 0))
    folder.mkdir(parents=True, exist_ok=True)
    sheet.save(folder / file_of(name), quality=85)


def file_of(name: str) -> str:
    """Return what the pictures of a case are called."""
    return f"{name.replace(' ', '-').replace(',', '')}.jpg"


def page() -> str:
    """Return the committed table for docs/verdicts.md."""
    lines = [
        "| what | verdict | clear after | images | CLIP difference (bound) | lost most | SSIM, tier | |",
        "|---" * 8 + "|",
    ]
    with TABLE.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            file = file_of(row["name"])
            shown = f"![{row['name']}](verdicts/{file})" if (PICTURES / file).exists() else ""
            measured = f"{row['difference']} ({row['bound']}) | {row['worst']} | {row['ssim']}, {row['tier']}"
            said = measured if row["difference"] else f"{row['detail']} | | "
            lines.append(f"| {row['name']} | {row['verdict']} | {row['looked']} | {row['images']} | {said} | {shown} |")
    return "\n".join(lines)


class CopyEvaluator(IsolatedEvaluator):
    """Tries recipes of a copy of the model, against the baseline of the model itself."""

    copy: ModelCard

    def _order(self, recipe: Recipe) -> dict[str, Any]:
        order = super()._order(recipe)
        return order if recipe == self.baseline else order | {"card": self.copy.model_dump(mode="json")}


def run(cases: list[Case], pictures: Path) -> list[Row]:
    """Try each case, and say what became of it."""
    task, _ = task_of(Request(model="shapes"), probe())
    folder, rows = Path(str(task.card.folder)), []
    with (
        tempfile.TemporaryDirectory() as home,
        CopyEvaluator(task, task.modules, task.machine.memory.free_bytes - SPARE_BYTES) as evaluator,
    ):
        evaluator.evaluate(0, UNMODIFIED, math.inf, time.monotonic() + 3600)
        keep_pictures(evaluator.images(UNMODIFIED), pictures, "unmodified")
        for number, case in enumerate(cases, 1):
            model = damaged(folder, case.damage, Path(home) / str(number)) if case.damage else folder
            evaluator.copy = read_model(model)
            recipe = Recipe(turned=case.recipe)
            trial = evaluator.evaluate(number, recipe, math.inf, time.monotonic() + 3600)
            keep_pictures(evaluator.images(recipe), pictures, case.name)
            feasible = trial.feasible(task.tolerance)
            confirmed = evaluator.quality(recipe, time.monotonic() + 3600) if feasible else None
            rows.append(row_of(case, trial, confirmed, task.tolerance))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    return rows


def _said(value: str | float) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def main() -> None:
    """Try what is asked for, and write the table; leave with 1 where a verdict is not what is expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--only", nargs="*", help="names of cases")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = home
        rows = run([case for case in CASES if not options.only or case.name in options.only], options.pictures)
    with options.table.open("w", encoding="utf-8", newline="") as text:
        table = csv.DictWriter(text, [field.name for field in fields(Row)])
        table.writeheader()
        for row in rows:
            values = {
                name: f"{value:.3f}" if isinstance(value, float) else value for name, value in asdict(row).items()
            }
            table.writerow({name: "" if value == "nan" else value for name, value in values.items()})
    sys.exit(any(row.verdict != row.expected for row in rows))


if __name__ == "__main__":
    main()
