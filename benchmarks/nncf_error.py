"""How far NNCF moves a denoiser's output: with its defaults, with what autotune asks for, with few and many calls.

    python benchmarks/nncf_error.py

Prints the relative error (root mean square over denoising steps of prompts that were not calibrated with) of the
`shapes` UNet under OpenVINO, against torch in fp32.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune.planner.request import Request, task_of
from autotune.probes.machine import probe
from autotune.search.assemble import choices_of
from autotune.search.knobs.openvino import convert
from autotune.search.knobs.openvino.parts import Graphed, parts_of
from autotune.search.knobs.openvino.run import quietly, tensors_in
from autotune.search.pipeline import load_pipeline
from autotune.search.recipe import Recipe


def main() -> None:
    """Quantize in several ways and compare."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = home
        task, _ = task_of(Request(model="shapes"), probe())
        recipe = Recipe(turned={"compile": "openvino", "quantization": "nncf_int8"})
        bench = task.order(recipe, Path(home)).bench()
        pipe = load_pipeline(bench.card, dtype=torch.float32)
        [made] = [each for each in parts_of(choices_of(recipe), bench) if each.part.component == "unet"]
        calls = convert.recorded(pipe, [made.part], bench.workload, bench, thorough=True)[made.part]
        unseen = replace(bench, calibration_prompts=task.prompts[:2])
        tests = convert.recorded(pipe, [made.part], bench.workload, unseen, thorough=True)[made.part]
        with torch.no_grad():
            wanted = [pipe.unet(*call.arguments[0], **call.arguments[1])[0] for call in tests]
        for name, graph in graphs(pipe, made, calls):
            sys.stdout.write(f"{name:20} {100 * error(graph, tests, wanted):.2f} %\n")


def graphs(pipe: Any, made: Graphed, calls: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the denoiser's graph as it is, and quantized in each way."""
    yield "bf16", convert.converted(replace(made, quantization="none"), pipe, calls)[0]
    nncf = quietly("nncf")
    samples = [[tensor.numpy() for tensor in tensors_in(call.arguments)] for call in calls]
    plain = convert.converted(replace(made, quantization="none"), pipe, calls)[0]
    transformer = nncf.ModelType.TRANSFORMER
    yield (
        "int8, NNCF's defaults",
        nncf.quantize(plain, nncf.Dataset(samples), subset_size=len(samples), model_type=transformer),
    )
    for count in (1, 2, 4, 8, len(calls)):
        yield f"int8, {count} calls", convert.converted(made, pipe, calls[:: max(1, len(calls) // count)][:count])[0]
    for kind in ("nncf_int8_weights", "nncf_int4_weights"):
        yield kind, convert.converted(replace(made, quantization=kind), pipe, calls)[0]


def error(graph: Any, calls: list[Any], wanted: list[Any]) -> float:
    """Return the relative error of a graph, computed with the bf16 hint."""
    compiled = quietly("openvino").Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    errors = []
    for call, want in zip(calls, wanted, strict=True):
        got = torch.from_numpy(compiled([tensor.numpy() for tensor in tensors_in(call.arguments)])[0].copy())
        errors.append(float(((got - want) ** 2).mean() / (want**2).mean()))
    return float(np.sqrt(np.mean(errors)))


if __name__ == "__main__":
    main()
