"""How far NNCF's int8 moves a denoiser's output, with its defaults and with what autotune asks for.

    python benchmarks/nncf_error.py

Prints the relative error (root mean square over denoising steps of prompts that were not calibrated with) of the
`shapes` UNet under OpenVINO, against torch in fp32.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune.planner.tune import Request, task_of
from autotune.probes.machine import probe
from autotune.search.knobs import openvino as knob
from autotune.search.pipeline import load_pipeline
from autotune.search.recipe import Recipe


def main() -> None:
    """Quantize twice and compare."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOTUNE_HOME"] = home
        task, _ = task_of(Request(model="shapes"), probe())
        bench = task.order(Recipe(turned={"compile": "openvino", "quantization": "nncf_int8"}), Path(home)).bench()
        pipe = load_pipeline(bench.card, dtype=torch.float32)
        made = knob._Made("unet", bench.workload)
        calls = knob._recorded_calls(pipe, made, bench, everything=True)
        unseen = replace(bench, calibration_prompts=task.prompts[:2])
        tests = knob._recorded_calls(pipe, made, unseen, everything=True)
        with torch.no_grad():
            wanted = [pipe.unet(*args, **{**kwargs, "return_dict": False})[0] for args, kwargs in tests]

        def fresh() -> Any:
            return knob._converted(pipe.unet, calls[0])

        nncf = knob._quietly("nncf")
        samples = [[tensor.numpy() for tensor in knob._tensors(call)] for call in calls]
        defaults = nncf.quantize(
            fresh(), nncf.Dataset(samples), subset_size=len(samples), model_type=nncf.ModelType.TRANSFORMER
        )
        for name, graph in (("bf16", fresh()), ("defaults", defaults), ("ours", knob._quantized(fresh(), calls))):
            sys.stdout.write(f"{name:10} {100 * error(graph, tests, wanted):.2f} %\n")


def error(graph: Any, calls: list[Any], wanted: list[Any]) -> float:
    """Return the relative error of a graph, computed with the bf16 hint."""
    compiled = knob._quietly("openvino").Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    errors = []
    for call, want in zip(calls, wanted, strict=True):
        got = torch.from_numpy(compiled([tensor.numpy() for tensor in knob._tensors(call)])[0].copy())
        errors.append(float(((got - want) ** 2).mean() / (want**2).mean()))
    return float(np.sqrt(np.mean(errors)))


if __name__ == "__main__":
    main()
