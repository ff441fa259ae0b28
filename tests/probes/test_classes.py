"""What is read of diffusers' classes is what they are when they are imported."""

from __future__ import annotations

import importlib
import inspect
import sys

import pytest

from autotune.probes import classes
from autotune.probes.classes import UNKNOWN, abilities, parameters

DENOISERS = ["UNet2DConditionModel", "FluxTransformer2DModel", "SD3Transformer2DModel", "WanTransformer3DModel"]


@pytest.mark.parametrize("name", [*DENOISERS, "AutoencoderKL", "PixArtTransformer2DModel", "HunyuanDiT2DModel"])
def test_a_model_is_what_its_source_says(name: str) -> None:
    real, read = getattr(importlib.import_module("diffusers"), name), abilities(name)
    assert read.repeated_blocks == tuple(real._repeated_blocks or ())
    assert read.whole_blocks == tuple(real._no_split_modules or ())
    assert read.groups is real._supports_group_offloading
    assert parameters(name) == set(inspect.signature(real.forward).parameters) - {"self"}
    for base in ("CacheMixin", "AttentionMixin"):
        assert (base in read.bases) is any(each.__name__ == base for each in real.__mro__)
    for method in ("enable_tiling", "enable_cache", "fuse_qkv_projections", "compile_repeated_blocks"):
        assert (method in read.methods) is hasattr(real, method)


def test_what_its_methods_set_and_whether_it_dispatches() -> None:
    assert {"decoder", "use_tiling"} <= abilities("AutoencoderKL").attributes.keys()
    assert abilities("AutoencoderKLWan").attributes["tile_sample_min_height"] == 256
    assert "use_tiling" not in abilities("AsymmetricAutoencoderKL").attributes
    assert "decoder" not in abilities("ConsistencyDecoderVAE").attributes
    dispatching = {name: abilities(name).dispatches for name in DENOISERS}
    assert dispatching == {name: name.startswith(("Flux", "Wan")) for name in DENOISERS}


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "StableDiffusionXLPipeline", "WanPipeline", "LTXPipeline"])
def test_a_pipeline_takes_what_its_source_says(name: str) -> None:
    real = getattr(importlib.import_module("diffusers"), name)
    assert parameters(name) == set(inspect.signature(real.__call__).parameters) - {"self", "kwargs"}


def test_a_pipeline_is_found_in_the_file_that_is_called_as_it_is() -> None:
    files = {name: file for name, file in classes._files().items() if name.endswith("Pipeline")}
    assert len(files) > 200
    assert all(classes._text(name) == file.read_bytes() for name, file in files.items())
    quick = [name for name in files if name.lower() in classes._namesakes()]
    assert len(quick) > len(files) / 2


def test_a_class_that_is_not_there_is_unknown() -> None:
    assert abilities("NoSuchPipeline") is UNKNOWN
    assert parameters("NoSuchPipeline") == frozenset()


def test_nothing_is_imported() -> None:
    import subprocess

    code = "import sys; from autotune.probes.classes import abilities; abilities('FluxPipeline'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "diffusers"}.isdisjoint(done.stdout.split())
