"""A plan as a script: without autotune it makes the image that `autotune.load` makes, to the byte."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import NoPlanError
from autotune.planner.catalogue import find_model
from autotune.planner.choose import Answer
from autotune.planner.exported import bench_of, exported
from autotune.planner.script import OURS, why_not, write
from autotune.planner.script.brought import DEEPCACHE, spelt
from autotune.planner.script.draft import THE_PLAN
from autotune.planner.script.knobs import WRITERS
from autotune.probes.machine import probe
from autotune.probes.software import probe_software
from autotune.search.assemble import environment
from autotune.search.knobs import KNOBS, Knob, deepcache
from autotune.search.knobs.cache_dit import DUAL_BLOCK_CACHES, configured
from autotune.search.knobs.hook_caches import HOOK_CACHES
from autotune.search.knobs.torchao import KINDS as TORCHAO
from autotune.search.plan import Plan
from autotune.search.recipe import Choice, Recipe

from ..daemon.family import keep, plan_of

INT8, NNCF = "torchao_int8_weight_only", "nncf_int8"
RUN: list[dict[str, Any]] = [
    {"precision": "bf16", "memory_format": "channels_last", "fuse_qkv": True, "huge_pages": True},
    {"quantization": INT8, "text_encoder_quantization": INT8, "attention": "eager"},
    {"tome_ratio": 0.5, "guidance_cutoff": 0.5, "vae_tiling": "slicing"},
    {"feature_cache": "deepcache_2", "quantization": "bnb_int8", "text_encoder_quantization": "bnb_nf4"},
    {
        "precision": "bf16",
        "vae_precision": "fp32",
        "quantization": "gguf_q8_0",
        "text_encoder_quantization": "gguf_q4_0",
    },
    {
        "quantization": "torchao_int8_dynamic_wide",
        "text_encoder_quantization": "fp8_storage",
        "vae_quantization": "fp8_storage",
    },
    {
        "compile": "openvino",
        "quantization": NNCF,
        "text_encoder_quantization": "nncf_int8_weights",
        "vae_quantization": NNCF,
        "feature_cache": "deepcache_2",
        "tome_ratio": 0.5,
        "guidance_cutoff": 0.5,
        "threads": "half",
    },
]
SCRIPTED = [
    *RUN[:-1],
    {"precision": "bf16", "quantization": "torchao_int8_dynamic"},
    {"threads": "half", "compile": "regional", "compile_shapes": "dynamic"},
    {"compile": "full", "vae_compile": True},
]
"""What was run by hand beside these, as it takes minutes: kinds of `compile`, quanto, int4, an allocator, and every
cache for transformers on small pipelines of Flux, SD 3 and LTX."""


def plan_for(turned: dict[str, Any], *, ms: float = 50.0, peak_bytes: int = 1000) -> Plan:
    """Return a plan for `shapes` as this machine would have it."""
    model, machine = find_model("shapes"), probe()
    workload = model.workload.model_copy(update={"steps": 2})
    scope = {"revision": model.card.revision, "machine": machine.fingerprint, "software": machine.software.key}
    scope["pipeline_class"] = model.card.pipeline_class
    plan = plan_of(ms=ms, peak_bytes=peak_bytes, workload=workload, **scope)
    return plan.model_copy(update={"recipe": Recipe(turned=turned)})


def written(turned: dict[str, Any]) -> str:
    """Return the script of a recipe, without anything being made for it."""
    plan = plan_for(turned)
    bench = bench_of(find_model("shapes"), plan)
    return write(plan.recipe, bench, {}, environment(plan.recipe, probe_software()), "A title.")


@pytest.mark.parametrize("turned", SCRIPTED, ids=" ".join)
def test_a_script_is_short_python_without_autotune(turned: dict[str, Any]) -> None:
    script = written(turned)
    compile(script, "script.py", "exec")
    own = script.partition(THE_PLAN)[2] or script
    assert len(own.splitlines()) <= 45
    assert max(map(len, script.splitlines()[1:])) <= 300
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    libraries = {"torch", "diffusers", "transformers", "torchao", "tomesd", "bitsandbytes", "accelerate"}
    assert imported <= {"sys", "os", "copy", "importlib", "typing", "collections", "__future__", *libraries}


def test_every_knob_is_written_or_it_is_said_why_not() -> None:
    names = {knob.name for knob in KNOBS}
    assert names == {*WRITERS, *OURS}
    assert len(names) == len(WRITERS) + len(OURS)
    written = [knob.name for knob in KNOBS if knob.name in WRITERS]
    assert written == [*WRITERS]  # in the order in which they are turned


def _fitting(knob: Knob, choice: Choice) -> dict[str, Any]:
    """Return a recipe with a choice, and with what it cannot be without."""
    return {knob.name: choice} | ({"compile": "openvino"} if str(choice).startswith("nncf") else {})


def test_no_script_uses_a_name_that_it_lacks(tmp_path: Path) -> None:
    hooked = set(HOOK_CACHES) | set(DUAL_BLOCK_CACHES)  # for transformers; below
    recipes = [
        _fitting(knob, choice)
        for knob in KNOBS
        for choice in knob.choices
        if knob.name in WRITERS and choice not in hooked and not str(choice).startswith("torchao_")
    ]
    for number, turned in enumerate([*RUN, *recipes]):
        (tmp_path / f"script-{number}.py").write_text(written(turned))
    assert len(recipes) > 60
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--select",
        "F821,F811,E9",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_settings_of_libraries_are_spelt_so_that_they_are_equal() -> None:
    configs = [kind.config() for kind in TORCHAO.values()]
    bench = bench_of(find_model("shapes"), plan_for({}))
    for choice in DUAL_BLOCK_CACHES:
        configs += filter(None, configured(choice, bench))
    quiet = [name for name in HOOK_CACHES if name not in {"pab_246", "fastercache"} and not name.startswith("magcache")]
    configs += [HOOK_CACHES[name].config(None, {}, bench) for name in quiet]
    for config in configs:
        imports: set[str] = set()
        text, space = spelt(config, imports), {"torch": import_module("torch")}
        exec("\n".join(imports), space)  # noqa: S102 - what the script would begin with
        assert eval(text, space) == config, text  # noqa: S307 - our own
    said = {"attention_weight_callback": "lambda _: 0.3", "current_timestep_callback": "lambda: pipe.current_timestep"}
    faster = HOOK_CACHES["fastercache"].config(None, {}, bench)
    assert "current_timestep_callback=lambda: pipe.current_timestep" in spelt(faster, set(), said)


@pytest.mark.slow
def test_ratios_that_were_measured_are_spelt_to_the_last_bit() -> None:
    import torch
    from diffusers import MagCacheConfig

    ratios = torch.rand(16, generator=torch.Generator().manual_seed(0)) + 0.5
    imports: set[str] = set()
    text = spelt(MagCacheConfig(mag_ratios=ratios, num_inference_steps=16), imports)
    assert imports == {"import torch", "from diffusers.hooks.mag_cache import MagCacheConfig"}
    made = eval(text, {"torch": torch, "MagCacheConfig": MagCacheConfig})  # noqa: S307 - our own
    assert torch.equal(made.mag_ratios, ratios)


def test_what_is_brought_is_there_word_for_word() -> None:
    code = DEEPCACHE.code
    assert inspect.getsource(deepcache.DeepCache).strip() in code
    assert "type: ignore" not in code
    with pytest.raises(LookupError, match="deepcache does not define nothing"):
        DEEPCACHE._replace(names=("nothing",)).code  # noqa: B018 - reading it is what fails


def test_a_program_that_needs_an_environment_begins_anew_in_it(tmp_path: Path) -> None:
    head, begins, _ = written({"huge_pages": True}).partition("os.environ, **wanted})\n")
    file = tmp_path / "script.py"
    file.write_text(head + begins + "print(os.environ['THP_MEM_ALLOC_ENABLE'], sys.argv[1:], sys.flags.optimize)\n")
    done = subprocess.run(
        [sys.executable, "-O", str(file), "a prompt"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "1 ['a prompt'] 1\n"


@pytest.mark.parametrize(
    ("turned", "because"),
    [
        ({"tiny_vae": True}, "tiny_vae=True: a distilled component"),
        ({"lcm_lora": "4_steps", "precision": "bf16"}, "lcm_lora=4_steps: an adapter"),
        ({"compile": "openvino", "quantization": NNCF}, ""),
        ({"vae_quantization": "none", "precision": "bf16"}, ""),
    ],
)
def test_what_the_user_names_at_each_call_is_not_exported(turned: dict[str, Any], because: str) -> None:
    plan = plan_for(turned)
    said = why_not(plan.recipe, bench_of(find_model("shapes"), plan))
    assert said.startswith(because)
    assert bool(said) is bool(because)


def test_weights_that_are_made_up_are_not_exported() -> None:
    plan = plan_for({"precision": "bf16"})
    bench = bench_of(find_model("shapes"), plan)
    made_up = replace(bench, card=bench.card.model_copy(update={"weights": "random"}))
    assert why_not(plan.recipe, made_up) == "its weights are made up"


def test_the_fastest_that_can_be_written_is_and_it_is_said() -> None:
    ours = plan_for({"tiny_vae": True}, ms=40)
    slower, slowest = plan_for({"precision": "bf16"}, ms=80), plan_for({"fuse_qkv": True}, ms=90)
    hungry = plan_for({"memory_format": "channels_last"}, ms=60, peak_bytes=2000)
    keep([ours, slowest, slower, hungry], probe())
    script, note = exported("shapes", "python")
    assert "dtype=torch.bfloat16" in script
    assert "tiny_vae=True, cannot be written as a script" in note
    assert "precision=bf16, at 80 ms instead of 40 ms" in note


def test_where_none_can_be_written_it_is_an_error() -> None:
    keep([plan_for({"tiny_vae": True})], probe())
    with pytest.raises(NoPlanError, match=r"can be written as a script .* use `autotune\.load`"):
        exported("shapes", "python")
    answer = Answer.model_validate_json(exported("shapes", "json")[0])
    assert answer.apply == {"tiny_vae": True}
    said = json.loads(exported("shapes", "kwargs")[0])
    assert said["knobs"] == {"tiny_vae": True}
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
