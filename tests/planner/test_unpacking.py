"""A file is unpacked once into a folder, whose pipeline makes the images that the file's own would."""

from __future__ import annotations

import shutil
from dataclasses import replace
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.errors import ModelError
from autotune.planner.catalogue import asked_as, find_model, unpacking
from autotune.planner.catalogue.unpacking import have_parts, have_unpacked
from autotune.planner.checkpoint.convert import converted
from autotune.planner.checkpoint.parts import parts_in
from autotune.planner.checkpoint.unpack import Job
from autotune.planner.checkpoint.unpack import _unpack as unpack_part
from autotune.planner.hub.cache import shared_cache
from autotune.planner.load import load
from autotune.probes.build import on_meta
from autotune.probes.model import Tensor
from autotune.store.places import config_dir

from .. import original_layout as original
from ..hub_server import reachable
from ..search.small import ARCHITECTURE_OF, Small, bench_of
from .test_single_file import denoiser as full_size

if TYPE_CHECKING:
    from collections.abc import Mapping


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    [file] = folder.glob("*.safetensors")
    return dict(load_file(file))


def weights_in(file: Path) -> dict[str, Any]:
    from safetensors.torch import load

    return dict(load(file.read_bytes()))


def unet_of(folder: Path) -> dict[str, Any]:
    return original.with_upsamplers(original.unet(weights(folder / "unet"), layers=1))


def sd_file(folder: Path, file: Path) -> Path:
    """Write what Civitai would have of a small SD pipeline."""
    return save(
        file,
        original.below(original.DENOISER, unet_of(folder)),
        original.below("first_stage_model.", original.vae(weights(folder / "vae"), levels=2)),
        original.below("cond_stage_model.transformer.", original.clip(weights(folder / "text_encoder"))),
    )


def sdxl_file(folder: Path, file: Path) -> Path:
    return save(
        file,
        original.below(original.DENOISER, unet_of(folder)),
        original.below("first_stage_model.", original.vae(weights(folder / "vae"), levels=2)),
        original.below("conditioner.embedders.0.transformer.", original.clip(weights(folder / "text_encoder"))),
        original.below("conditioner.embedders.1.model.", original.open_clip(weights(folder / "text_encoder_2"))),
    )


def sd3_file(folder: Path, file: Path) -> Path:
    return save(
        file,
        original.below(original.DENOISER, original.sd3(weights(folder / "transformer"))),
        original.below("first_stage_model.", original.vae(weights(folder / "vae"), levels=2)),
        original.below("text_encoders.clip_l.transformer.", original.clip(weights(folder / "text_encoder"))),
        original.below("text_encoders.clip_g.transformer.", original.clip(weights(folder / "text_encoder_2"))),
        original.below("text_encoders.t5xxl.transformer.", weights(folder / "text_encoder_3")),
    )


FILES = {"sd": sd_file, "sdxl": sdxl_file, "sd3": sd3_file}


def save(file: Path, *parts: Mapping[str, Any]) -> Path:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for part in parts for name, tensor in part.items()}, file)
    return file


pytestmark = pytest.mark.filterwarnings("ignore")  # libraries about the configurations of small pipelines


def add_to_catalogue(**folders: Path) -> None:
    lines = [f"[{name}]\nfolder = '{folder}'\n" for name, folder in folders.items()]
    (config_dir() / "models.toml").write_text("".join(lines), encoding="utf-8")


def without_weights(folder: Path) -> Path:
    """Take the weights out of a folder: what comes of it then comes from elsewhere."""
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    return folder


def small(name: str, folder: Path) -> Small:
    bench = bench_of(ARCHITECTURE_OF[name], folder)
    return Small(None, bench)  # type: ignore[arg-type]  # nothing here asks which knobs are open


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the work be done in this process, and return the list of how many bytes it has said to have written."""
    said: list[int] = []

    def work(_module: str, arguments: list[str], _on_progress: Any, _failed: str) -> dict[str, str]:
        job = Job.model_validate_json(arguments[0])
        said.extend(size for part in job.parts for size in unpack_part(job, part))
        return {"folder": job.target}

    monkeypatch.setattr(unpacking, "work_apart", work)
    return said


@pytest.mark.slow
def test_a_whole_pipeline_makes_the_images_of_the_folder(tmp_path: Path) -> None:
    whole = small("sd", tmp_path)
    before = whole.image()
    file = sd_file(tmp_path / "model", tmp_path / "mine.safetensors")
    add_to_catalogue(mine=without_weights(tmp_path / "model"))
    heard: list[tuple[int, int]] = []

    have_unpacked(str(file), lambda done, total: heard.append((done, total)))
    card = find_model(str(file)).card
    after = Small(whole.setting, replace(whole.bench, card=card)).image()

    assert card.weights == "files"
    assert card.name == "mine.safetensors"
    assert not card.has("safety_checker")
    np.testing.assert_allclose(after, before, atol=1e-5)  # where a tensor lies in memory changes the last bit
    assert heard[-1][0] == heard[-1][1] > 0


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_arrives(name: str, tmp_path: Path, here: list[int]) -> None:
    folder = ARCHITECTURE_OF[name].save(tmp_path / "model")
    before = {part.name: weights(part) for part in folder.iterdir() if list(part.glob("*.safetensors"))}
    file = FILES[name](folder, tmp_path / "mine.safetensors")
    add_to_catalogue(mine=without_weights(folder))

    have_unpacked(str(file))

    place = Path(find_model(str(file)).card.folder)
    assert sum(here) > 0
    for part, tensors in before.items():
        after = weights(place / part)
        assert set(after) <= set(tensors), part
        assert {*tensors} - {*after} <= {"encoder.embed_tokens.weight"}
        for tensor in after:
            assert tensors[tensor].equal(after[tensor]), tensor


@pytest.fixture
def denoiser_alone(tmp_path: Path) -> Path:
    """Return a file of the UNet of a small pipeline, whose folder is in the catalogue with its weights."""
    folder = ARCHITECTURE_OF["sd"].save(tmp_path / "model")
    add_to_catalogue(mine=folder)
    return save(tmp_path / "unet.safetensors", unet_of(folder))


@pytest.mark.usefixtures("here")
def test_what_a_file_lacks_is_linked_from_where_it_lies(denoiser_alone: Path) -> None:
    have_unpacked(str(denoiser_alone))

    place = Path(find_model(str(denoiser_alone)).card.folder)
    assert (place / "vae" / "diffusion_pytorch_model.safetensors").is_symlink()
    assert not (place / "unet" / "diffusion_pytorch_model.safetensors").is_symlink()


def test_what_is_nowhere_is_named(denoiser_alone: Path, here: list[int], tmp_path: Path) -> None:
    without_weights(tmp_path / "model" / "vae")

    with pytest.raises(ModelError, match=r"unet alone, and vae of .* are not here. .*--weights random"):
        have_unpacked(str(denoiser_alone))
    assert not here


def test_what_is_nowhere_is_fetched_where_that_is_asked_for(
    tmp_path: Path, here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ARCHITECTURE_OF["sd"].save(tmp_path / "model")
    file = str(save(tmp_path / "unet.safetensors", unet_of(folder)))
    (config_dir() / "models.toml").write_text("[mine]\nhub = 'org/small'\n", encoding="utf-8")
    with reachable(tmp_path / "hf", monkeypatch) as hub:
        hub.commit("org/small", folder)
        find_model("mine")  # from now on it is known what it is made of
        with pytest.raises(ModelError, match=r"unet alone, and text_encoder, vae of org/small .* --weights hub`"):
            have_unpacked(file)
        assert not hub.sent_bytes

        have_parts(file)

        fetched = {name.rpartition("/")[0] for name in files_with_weights(shared_cache())}
        assert fetched == {"text_encoder", "vae"}
        have_unpacked(file)
    assert here
    assert find_model(file).card.weights == "files"


def files_with_weights(cache: Path) -> set[str]:
    [commit] = cache.glob("models--*/snapshots/*")
    return {found.relative_to(commit).as_posix() for found in commit.rglob("*.safetensors")}


@pytest.mark.usefixtures("here")
def test_it_is_unpacked_again_when_what_it_took_has_gone(denoiser_alone: Path, tmp_path: Path) -> None:
    have_unpacked(str(denoiser_alone))
    without_weights(tmp_path / "model" / "vae")

    assert find_model(str(denoiser_alone)).card.weights == "none"


def test_the_second_time_nothing_is_done(denoiser_alone: Path, here: list[int]) -> None:
    have_unpacked(str(denoiser_alone))
    here.clear()
    have_unpacked(str(denoiser_alone))

    assert not here


@pytest.mark.usefixtures("here")
def test_a_file_that_has_changed_is_unpacked_anew_and_what_it_was_is_gone(denoiser_alone: Path) -> None:
    have_unpacked(str(denoiser_alone))
    before = find_model(str(denoiser_alone)).card
    state = {name: tensor + 1 for name, tensor in weights_in(denoiser_alone).items()}
    save(denoiser_alone, state)
    assert find_model(str(denoiser_alone)).card.weights == "none"

    have_unpacked(str(denoiser_alone))

    after = find_model(str(denoiser_alone)).card
    assert after.weights == "files"
    assert after.revision != before.revision
    assert not Path(before.folder).exists()


@pytest.mark.usefixtures("here")
def test_the_model_is_found_again_by_the_file(denoiser_alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have_unpacked(str(denoiser_alone))
    model = find_model(str(denoiser_alone))
    monkeypatch.chdir("/")

    assert asked_as(model.card) == str(denoiser_alone)
    assert find_model(asked_as(model.card)) == model


def test_what_is_interrupted_leaves_nothing(denoiser_alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(unpacking, "work_apart", stopped)
    place = find_model(str(denoiser_alone)).file
    assert place
    mine = place.place.parent.parent
    left_by_another = mine / ".draft-dead"
    left_by_another.mkdir(parents=True)

    with pytest.raises(KeyboardInterrupt):
        have_unpacked(str(denoiser_alone))
    assert {file.name for file in mine.iterdir()} <= {".lock"}


def test_free_disk_is_looked_at_first(denoiser_alone: Path, here: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))

    with pytest.raises(ModelError, match=r"unet.safetensors needs .* when it is unpacked, and .* 0 MiB are free"):
        have_unpacked(str(denoiser_alone))
    assert not here


@pytest.fixture
def scaled(denoiser_alone: Path) -> Path:
    """Return a file with scales beside its weights, as those in fp8 may have."""
    import torch

    return save(denoiser_alone, weights_in(denoiser_alone), {"out.2.scale_weight": torch.ones(1)})


@pytest.mark.usefixtures("here")
def test_a_tensor_of_another_kind_is_not_left_out(scaled: Path) -> None:
    with pytest.raises(ModelError, match="its UNet2DConditionModel has tensors that diffusers does not know"):
        have_unpacked(str(scaled))


@pytest.mark.slow
def test_what_the_process_finds_is_a_sentence(scaled: Path) -> None:
    with pytest.raises(ModelError, match=r"^unet.safetensors cannot be unpacked: its UNet2DConditionModel has .*\.$"):
        have_unpacked(str(scaled))


@pytest.mark.usefixtures("here")
def test_numbers_of_8_bits_are_bf16_afterwards(denoiser_alone: Path) -> None:
    import torch

    small_numbers = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in weights_in(denoiser_alone).items()}
    save(denoiser_alone, small_numbers)
    have_unpacked(str(denoiser_alone))

    after = weights(Path(find_model(str(denoiser_alone)).card.folder) / "unet")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    first = small_numbers["input_blocks.0.0.weight"].to(torch.bfloat16)
    assert after["conv_in.weight"].equal(first)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_blocks_of_gguf_are_expanded(kind: str, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="needs the extra gguf")
    folder = ARCHITECTURE_OF["sd3"].save(tmp_path / "model")
    add_to_catalogue(mine=folder)
    before = weights(folder / "transformer")
    file = original.write_gguf(tmp_path / f"mine-{kind}.gguf", original.sd3(before), kind)

    have_unpacked(str(file))

    after = weights(Path(find_model(str(file)).card.folder) / "transformer")
    name = "transformer_blocks.0.attn.to_k.weight"
    format_ = gguf.GGMLQuantizationType[kind]
    blocks = gguf.quants.dequantize(gguf.quants.quantize(before[name].numpy(), format_), format_)
    np.testing.assert_allclose(after[name].float().numpy(), blocks, rtol=2**-7)  # in bf16, as diffusers computes
    assert {each: tensor.shape for each, tensor in after.items()} == {each: t.shape for each, t in before.items()}
    assert str(after["pos_embed.proj.weight"].dtype) == "torch.float16"


@pytest.mark.parametrize("name", ["sd15", "sd21", "sdxl", "sd35-medium", "sd35-large", "flux-dev", "flux-schnell"])
def test_full_sizes_are_what_the_classes_are_made_of(name: str) -> None:
    card = find_model(name, "none").card
    part = Path(card.folder) / card.denoiser.name

    found = converted(part, "diffusers", card.denoiser.class_name, "", dict(full_size(name)))

    assert sum(prod(shape) for _, shape in found.values()) == card.denoiser.parameters
    assert all(tuple(tensor.shape) == shape or tensor.numel() == prod(shape) for tensor, shape in found.values())


def in_first_layout(part: str, prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    if part == "vae":
        return original.vae(state, levels=4)
    if prefix.endswith(".model."):
        return original.open_clip(state)
    return state if "t5" in prefix else original.clip(state)


@pytest.mark.parametrize(
    ("name", "part", "prefix"),
    [
        ("sd15", "vae", "first_stage_model."),
        ("sd15", "text_encoder", "cond_stage_model.transformer."),
        ("sd21", "text_encoder", "cond_stage_model.model."),
        ("sdxl", "vae", "first_stage_model."),
        ("sdxl", "text_encoder", "conditioner.embedders.0.transformer."),
        ("sdxl", "text_encoder_2", "conditioner.embedders.1.model."),
        ("sd35-large", "vae", "first_stage_model."),
        ("sd35-large", "text_encoder", "text_encoders.clip_l.transformer."),
        ("sd35-large", "text_encoder_2", "text_encoders.clip_g.transformer."),
        ("flux-dev", "vae", "vae."),
        ("flux-dev", "text_encoder_2", "text_encoders.t5xxl.transformer."),
    ],
)
def test_other_parts_of_full_size_too(name: str, part: str, prefix: str) -> None:
    card = find_model(name, "none").card
    component = card.component(part)
    assert component
    module = on_meta(Path(card.folder) / part, component.library, component.class_name)
    state = module.state_dict()
    tensors = original.below(prefix, in_first_layout(part, prefix, state))
    shapes = {each: Tensor("F16", tuple(tensor.shape)) for each, tensor in tensors.items()}

    assert parts_in(shapes, [component]) == {part: prefix}
    found = converted(Path(card.folder) / part, component.library, component.class_name, prefix, tensors)
    assert {each: ready.shape for each, ready in found.items()} == {
        each: tuple(tensor.shape) for each, tensor in state.items()
    }


@pytest.mark.usefixtures("here")
def test_an_app_loads_a_file_as_it_loads_a_folder(denoiser_alone: Path) -> None:
    pipe = load(str(denoiser_alone))

    assert type(pipe.pipe).__name__ == "StableDiffusionPipeline"
    assert pipe.unet.conv_in.weight.equal(weights_in(denoiser_alone)["input_blocks.0.0.weight"])


def test_without_the_hub_it_is_said_what_a_file_lacks(
    tmp_path: Path, here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole pipeline lacks a tokenizer, a denoiser text encoders and a VAE."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "nothing"))
    denoiser = original.below(original.DENOISER, full_size("sd15"))
    alone = original.write_header(tmp_path / "alone.safetensors", denoiser)
    with pytest.raises(ModelError, match=r"holds unet alone, and text_encoder, vae of .* --weights hub` .* random`"):
        have_unpacked(str(alone))

    others = {"first_stage_model.x": denoiser[f"{original.DENOISER}out.2.bias"]}
    others["cond_stage_model.transformer.x"] = others["first_stage_model.x"]
    whole = original.write_header(tmp_path / "whole.safetensors", {**denoiser, **others})
    with pytest.raises(ModelError, match=r"whole.safetensors has no tokenizer, so that of sd15 is needed. .* random`"):
        have_unpacked(str(whole))
    assert not here
