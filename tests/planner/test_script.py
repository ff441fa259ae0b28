"""A plan as a script: without autotune it makes the image that `autotune.load` makes, to the byte."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import NoPlanError
from autotune.planner.catalogue import find_model
from autotune.planner.choose import Answer
from autotune.planner.exported import bench_of, exported, script_of
from autotune.planner.script import _READ_BY_OTHERS, _WRITERS, OURS, why_not
from autotune.probes.machine import probe
from autotune.search.knobs import KNOBS
from autotune.search.plan import Plan
from autotune.search.recipe import Recipe

from ..daemon.family import keep, plan_of

INT8 = "torchao_int8_weight_only"
RUN: list[dict[str, Any]] = [
    {"precision": "bf16", "memory_format": "channels_last", "fuse_qkv": True},
    {"quantization": INT8, "text_encoder_quantization": INT8, "attention": "eager"},
    {"tome_ratio": 0.5, "guidance_cutoff": 0.5, "vae_tiling": "slicing"},
]
SCRIPTED = [
    *RUN,
    {"precision": "bf16", "quantization": "torchao_int8_dynamic"},
    {"threads": "half", "compile": "regional", "compile_shapes": "dynamic"},
    {"compile": "full", "vae_compile": True},
]
"""What was run by hand beside these, as it takes minutes: the kinds of `compile`."""


def plan_for(turned: dict[str, Any], *, ms: float = 50.0, peak_bytes: int = 1000) -> Plan:
    """Return a plan for `shapes` as this machine would have it."""
    model, machine = find_model("shapes"), probe()
    workload = model.workload.model_copy(update={"steps": 2})
    scope = {"revision": model.card.revision, "machine": machine.fingerprint, "software": machine.software.key}
    scope["pipeline_class"] = model.card.pipeline_class
    plan = plan_of(ms=ms, peak_bytes=peak_bytes, workload=workload, **scope)
    return plan.model_copy(update={"recipe": Recipe(turned=turned)})


@pytest.mark.parametrize("turned", SCRIPTED, ids=" ".join)
def test_a_script_is_short_python_without_autotune(turned: dict[str, Any]) -> None:
    script = script_of(find_model("shapes"), plan_for(turned))
    compile(script, "script.py", "exec")
    assert len(script.splitlines()) <= 45
    assert max(map(len, script.splitlines()[1:])) <= 300
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert imported <= {"sys", "torch", "diffusers", "transformers", "torchao", "tomesd"}


def test_every_knob_is_written_or_it_is_said_why_not() -> None:
    names = {knob.name for knob in KNOBS}
    assert names == {*_WRITERS, *OURS, *_READ_BY_OTHERS}
    assert len(names) == len(_WRITERS) + len(OURS) + len(_READ_BY_OTHERS)


@pytest.mark.parametrize(
    ("turned", "because"),
    [
        ({"compile": "openvino"}, "compile=openvino: graphs are converted for OpenVINO by code of autotune"),
        ({"feature_cache": "deepcache_2"}, "feature_cache=deepcache_2: features are cached by code of autotune"),
        ({"quantization": "gguf_q8_0"}, "quantization=gguf_q8_0: weights are quantized by code of autotune"),
        ({"quantization": "bnb_nf4"}, "quantization=bnb_nf4: weights are quantized by code of autotune"),
        ({"offload": "group_leaf"}, "offload=group_leaf: parts are offloaded by code of autotune"),
        ({"tiny_vae": True}, "tiny_vae=True: a distilled component"),
        ({"vae_quantization": "none", "precision": "bf16"}, ""),
    ],
)
def test_what_is_our_own_code_is_not_exported(turned: dict[str, Any], because: str) -> None:
    plan = plan_for(turned)
    said = why_not(plan.recipe, bench_of(find_model("shapes"), plan))
    assert said.startswith(because)
    assert bool(said) is bool(because)


def test_the_fastest_that_can_be_written_is_and_it_is_said() -> None:
    ours = plan_for({"compile": "openvino"}, ms=40)
    slower, slowest = plan_for({"precision": "bf16"}, ms=80), plan_for({"fuse_qkv": True}, ms=90)
    hungry = plan_for({"memory_format": "channels_last"}, ms=60, peak_bytes=2000)
    keep([ours, slowest, slower, hungry], probe())
    script, note = exported("shapes", "python")
    assert "dtype=torch.bfloat16" in script
    assert "compile=openvino, cannot be written as a script" in note
    assert "precision=bf16, at 80 ms instead of 40 ms" in note


def test_where_none_can_be_written_it_is_an_error() -> None:
    keep([plan_for({"compile": "openvino"})], probe())
    with pytest.raises(NoPlanError, match=r"can be written as a script .* use `autotune\.load`"):
        exported("shapes", "python")
    answer = Answer.model_validate_json(exported("shapes", "json")[0])
    assert answer.apply == {"compile": "openvino"}
    said = json.loads(exported("shapes", "kwargs")[0])
    assert said["knobs"] == {"compile": "openvino"}
    assert said["call"] == answer.call
    assert said["pipeline_class"] == "StableDiffusionPipeline"


LOADING = """
import hashlib, json, sys
from pathlib import Path
import torch
import autotune
from autotune.tests.planner.test_script import RUN, plan_for
from autotune.tests.daemon.family import keep
from autotune.planner.catalogue import find_model
from autotune.planner.exported import exported
from autotune.probes.machine import probe

images = []
for number, turned in enumerate(RUN):
    keep([plan_for(turned)], probe())
    folder = Path(sys.argv[1], str(number))
    folder.mkdir()
    script, note = exported("shapes", "python")
    assert not note, note
    (folder / "script.py").write_text(script)
    pipe = autotune.load("shapes")
    assert pipe.answer.apply == turned
    image = pipe("a small green star", generator=torch.Generator().manual_seed(0)).images[0]
    images.append(hashlib.sha256(image.tobytes()).hexdigest())
print(json.dumps(images))
"""

RUNNING = """
import hashlib, json, os, runpy, sys
from pathlib import Path
sys.modules["autotune"] = None  # importing it raises ImportError
from PIL import Image

images = []
for number in range(int(sys.argv[2])):
    os.chdir(Path(sys.argv[1], str(number)))
    sys.argv[1:2] = ["a small green star"]
    runpy.run_path("script.py")
    sys.argv[1:2] = [os.path.dirname(os.getcwd())]
    images.append(hashlib.sha256(Image.open("image-0.png").tobytes()).hexdigest())
print(json.dumps(images))
"""


@pytest.mark.slow
def test_scripts_make_the_images_of_load_to_the_byte(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()

    def hashes(code: str, *arguments: str) -> list[str]:
        command = [sys.executable, "-W", "ignore", "-c", code, str(scripts), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout.splitlines()[-1])
        return found

    loaded = hashes(LOADING)
    assert hashes(RUNNING, str(len(RUN))) == loaded
    assert len(set(loaded)) == len(RUN)  # recipes differ in what they make: something was applied
