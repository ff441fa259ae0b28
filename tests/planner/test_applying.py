"""A plan for a pipeline that is there already: what comes too late is said, and what does not is as `load` has it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import UsageError
from autotune.planner.applying import EARLY, apply, late, said_left
from autotune.planner.catalogue import find_model
from autotune.probes.machine import probe
from autotune.search.knobs import KNOBS, Bench
from autotune.search.recipe import Recipe

from .. import tiny
from ..daemon.family import keep, plan_of


def bench_of(device: str = "cpu") -> Bench:
    model = find_model("shapes")
    return Bench(model.card, model.workload, device, Path("artifacts"), "software", ())


@pytest.mark.parametrize(
    ("turned", "device", "left"),
    [
        ({"precision": "bf16", "memory_format": "channels_last", "vae_tiling": "tiling"}, "cpu", set()),
        ({"precision": "bf16", "compile": "regional", "compile_shapes": "static"}, "cuda", set()),
        ({"precision": "bf16", "compile": "openvino"}, "cpu", {"precision", "compile"}),
        ({"compile": "openvino", "quantization": "nncf_int8"}, "cpu", {"compile", "quantization"}),
        ({"quantization": "torchao_int8_weight_only", "threads": "half"}, "cpu", {"quantization"}),
        ({"quantization": "bnb_nf4"}, "cuda", {"quantization"}),
        ({"quantization": "bnb_nf4", "text_encoder_quantization": "fp8_storage"}, "cpu", set()),
        ({"allocator": "jemalloc", "huge_pages": True, "tome_ratio": 0.5}, "cpu", {"allocator", "huge_pages"}),
        (
            {"tiny_vae": True, "lcm_lora": "steps_4", "vae_precision": "fp32"},
            "cuda",
            {"tiny_vae", "lcm_lora", "vae_precision"},
        ),
    ],
)
def test_what_comes_too_late_is_known(turned: dict[str, Any], device: str, left: set[str]) -> None:
    recipe, because = late(Recipe(turned=turned), bench_of(device))
    assert set(because) == left
    assert set(recipe.turned) == set(turned) - left
    assert all(name in said_left(because) for name in left)


def test_shapes_of_compiled_code_go_with_it() -> None:
    recipe, _ = late(Recipe(turned={"compile": "openvino", "compile_shapes": "static"}), bench_of())
    assert recipe == Recipe()


def test_every_knob_that_does_nothing_to_a_loaded_pipeline_is_known_to_come_too_late() -> None:
    def does_nothing(name: str) -> bool:
        knob = next(knob for knob in KNOBS if knob.name == name)
        return knob.apply.__name__ == "_leaves" and knob.calls.__name__ == "_adds_nothing"

    names = {knob.name for knob in KNOBS}
    assert set(EARLY) <= names
    assert {name for name in names if does_nothing(name)} - {"compile_shapes"} <= set(EARLY)


def test_a_pipeline_of_another_class_is_refused() -> None:
    with pytest.raises(UsageError, match=r"for a StableDiffusionPipeline, and this is a object"):
        apply(object(), plan_of())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_makes_the_images_that_load_makes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    folder = tmp_path / "tiny"
    tiny.main(folder, nan=False)
    card, machine = find_model(str(folder)).card, probe()
    workload = find_model(str(folder)).workload.model_copy(update={"steps": 2})
    scope: dict[str, Any] = {"model": card.name, "revision": card.revision, "machine": machine.fingerprint}
    scope |= {"software": machine.software.key, "workload": workload}
    recipe = Recipe(turned={"precision": "bf16", "memory_format": "channels_last", "fuse_qkv": True})
    keep([plan_of(peak_bytes=1, **scope).model_copy(update={"recipe": recipe})], machine)
    loaded = autotune.load(str(folder))
    assert loaded.answer is not None

    def image(pipe: Any) -> bytes:
        made = pipe("a red circle", generator=torch.Generator().manual_seed(0)).images[0]
        return bytes(made.tobytes())

    own = StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    caplog.set_level(logging.WARNING)
    assert image(apply(own, loaded.answer)) == image(loaded)
    assert not [record for record in caplog.records if "not applied" in record.getMessage()]
