"""A file of weights is recognised by its header alone, and says what it is before anything is unpacked."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from autotune.errors import ModelError
from autotune.planner.catalogue import find_model
from autotune.planner.catalogue.configurations import shipped_files
from autotune.planner.catalogue.entries import shipped
from autotune.planner.cli.card import print_card
from autotune.planner.show import show

from .. import original_layout as original
from ..folders import write_weights

if TYPE_CHECKING:
    from pathlib import Path


@cache
def denoiser(name: str) -> dict[str, Any]:
    """Return the tensors of a model's denoiser as files have them, on the meta device."""
    import diffusers
    import torch

    part = "unet" if "unet/config.json" in shipped_files(name) else "transformer"
    config = dict(shipped_files(name)[f"{part}/config.json"])
    with torch.device("meta"):
        state = getattr(diffusers, config["_class_name"]).from_config(config).to(torch.bfloat16).state_dict()
    if part == "unet":
        return original.with_upsamplers(original.unet(state, config["layers_per_block"]))
    return original.flux(state) if config["_class_name"].startswith("Flux") else original.sd3(state)


def header_of(name: str, file: Path, prefix: str = "") -> Path:
    return original.write_header(file, original.below(prefix, denoiser(name)))


@pytest.mark.parametrize("prefix", ["", original.DENOISER])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("sd15", 859_520_964),
        ("sd21", 865_910_724),
        ("sdxl", 2_567_463_684),
        ("sd35-medium", 2_469_663_936),
        ("sd35-large", None),
        ("flux-dev", 11_901_408_320),
        ("flux-schnell", None),
    ],
)
def test_a_denoiser_of_full_size_is_recognised(name: str, parameters: int | None, prefix: str, tmp_path: Path) -> None:
    model = find_model(str(header_of(name, tmp_path / "model.safetensors", prefix)))

    assert model.file
    assert model.file.like == name
    assert model.card.name == "model.safetensors"
    assert model.card.weights == "none"
    assert model.workload == shipped()[name].workload
    if parameters:
        assert model.card.denoiser.parameters == parameters
    assert model.card.denoiser.bytes == 2 * model.card.denoiser.parameters


@pytest.mark.parametrize("name", ["flux-dev", "sd35-medium"])
def test_a_quantized_denoiser_is_recognised(name: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="needs the extra gguf")
    model = find_model(str(original.write_gguf_header(tmp_path / "model-Q4_K_S.gguf", denoiser(name))))

    assert model.file
    assert model.file.like == name
    assert model.card.name == "model-Q4_K_S.gguf"
    numbers = model.card.denoiser.parameters
    assert numbers == find_model(name, "none").card.denoiser.parameters
    assert 2 * numbers <= model.card.denoiser.bytes < 2.2 * numbers  # as bf16, but for what is small
    assert model.file.header.size_bytes < numbers


@pytest.mark.parametrize(
    ("file_name", "like"),
    [
        ("flux1-kontext-dev.safetensors", "flux-kontext"),
        ("flux1-dev.safetensors", "flux-dev"),
        ("mine.safetensors", "flux-dev"),
    ],
)
def test_of_models_that_are_made_alike_the_name_of_the_file_decides(file_name: str, like: str, tmp_path: Path) -> None:
    file = find_model(str(header_of("flux-dev", tmp_path / file_name))).file

    assert file
    assert file.like == like


def test_what_the_file_lacks_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = show(str(header_of("flux-dev", tmp_path / "mine.safetensors")))

    assert shown.file == str(tmp_path / "mine.safetensors")
    assert shown.like == "flux-dev"
    assert shown.elsewhere == ("text_encoder", "text_encoder_2", "vae")
    assert not shown.weights_here
    assert {part.name: part.blocks for part in shown.parts}["transformer"]

    print_card(shown)
    said = " ".join(capsys.readouterr().out.split())
    assert "laid out as flux-dev, whose text_encoder, text_encoder_2 and vae it takes" in said
    assert "which is not unpacked yet" in said


def test_made_up_weights_need_nothing_of_the_file_but_its_header(tmp_path: Path) -> None:
    model = find_model(str(header_of("sdxl", tmp_path / "mine.safetensors")), "random")

    assert model.card.weights == "random"
    assert model.card.denoiser.parameters == 2_567_463_684


def test_made_up_weights_are_of_all_that_the_folder_names(tmp_path: Path) -> None:
    card = find_model(str(header_of("sd15", tmp_path / "mine.safetensors")), "random").card

    assert card.has("safety_checker")
    assert not find_model(str(tmp_path / "mine.safetensors")).card.has("safety_checker")


def refused(file: Path) -> str:
    with pytest.raises(ModelError) as caught:
        find_model(str(file))
    return str(caught.value)


@pytest.mark.parametrize("text", ["models/none.safetensors", "./none.gguf", "NONE.SAFETENSORS"])
def test_a_file_that_is_not_there_is_not_asked_for_at_the_hub(text: str) -> None:
    with pytest.raises(ModelError, match="There is no file"):
        find_model(text)


def test_a_file_may_be_a_link_into_a_cache(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="needs the extra gguf")
    original.write_gguf_header(tmp_path / "0123abcd", denoiser("flux-dev"))
    (tmp_path / "flux1-dev-Q4_K_S.gguf").symlink_to(tmp_path / "0123abcd")

    assert find_model(str(tmp_path / "flux1-dev-Q4_K_S.gguf")).card.name == "flux1-dev-Q4_K_S.gguf"


def test_a_model_that_predicts_velocity_is_not_taken_for_one_that_predicts_noise(tmp_path: Path) -> None:
    state = {**denoiser("sdxl"), "v_pred": denoiser("sdxl")["out.2.bias"]}

    assert "predicts velocity" in refused(original.write_header(tmp_path / "mine.safetensors", state))


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".pkl"])
def test_a_pickle_is_not_opened(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(b"\x80\x04.")

    assert refused(file).endswith("so it is not opened: convert it to safetensors.")


def test_a_file_that_is_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    write_weights(tmp_path / "lora.safetensors", (2, 3))

    assert "lora.safetensors is not recognised" in refused(tmp_path / "lora.safetensors")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64, b"x" * 100])
def test_what_is_no_gguf_is_refused(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="needs the extra gguf")
    (tmp_path / "model.gguf").write_bytes(content)

    assert "is not a GGUF file, or is cut short" in refused(tmp_path / "model.gguf")


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    file = header_of("sd15", tmp_path / "model.safetensors")
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 1)

    assert "is cut short" in refused(file)


def test_sizes_that_no_model_has_are_said(tmp_path: Path) -> None:
    """An inpainting UNet has nine inputs."""
    state = dict(denoiser("sd15"))
    state["input_blocks.0.0.weight"] = state["input_blocks.0.0.weight"].new_empty((320, 9, 3, 3))
    said = refused(original.write_header(tmp_path / "inpainting.safetensors", state))

    assert "inputs 9" in said
    assert "models.toml" in said


def test_it_is_recognised_without_torch(tmp_path: Path) -> None:
    file = header_of("flux-dev", tmp_path / "mine.safetensors")
    code = (
        "import sys; from autotune.planner.catalogue import find_model; find_model(sys.argv[1]); "
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []
