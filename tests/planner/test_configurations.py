"""The configurations that ship: they are whole, stand for what is published, and need neither torch nor weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.errors import ModelError
from autotune.planner.catalogue import configurations as module
from autotune.planner.catalogue import find_model
from autotune.planner.catalogue.configurations import compositions, folder_of, shipped_composition, written
from autotune.planner.catalogue.entries import shipped
from autotune.planner.catalogue.page import page
from autotune.planner.catalogue.weights import require_weights
from autotune.planner.tune import tune
from autotune.probes.classes import parameters
from autotune.probes.machine import probe
from autotune.probes.model import safetensors_shapes
from autotune.shapes import WEIGHTS
from autotune.store.places import cache_dir

from ..folders import WEIGHTS as FILE
from ..folders import write_json, write_weights

CATALOGUE = Path(str(module.__file__)).parent
NAMES = [name for name, entry in shipped().items() if entry.hub]
PUBLISHED = [(name, part) for name in NAMES for part in shipped()[name].published]

each_model = pytest.mark.parametrize("name", NAMES)


def test_every_model_has_configurations_and_none_is_left_over() -> None:
    assert {file.stem for file in (CATALOGUE / "configurations").iterdir()} == set(NAMES)
    assert {file.stem for file in (CATALOGUE / "layers").iterdir()} <= {*NAMES, "shapes"}


@pytest.mark.parametrize(("name", "part"), PUBLISHED)
def test_parameters_are_as_published(name: str, part: str) -> None:
    """Within 1 %, or what is rounded to the last digit that is written; each count names its source in models.toml."""
    said = shipped()[name].published[part]
    least, most = said.range
    found = shipped_composition(name, part).parameters

    assert min(least, 0.99 * (least + most) / 2) <= found <= max(most, 1.01 * (least + most) / 2), said.source


@each_model
def test_a_card_without_weights_says_what_they_would_be(name: str) -> None:
    card = find_model(name).card
    entry = shipped()[name]

    assert card.weights == "none"
    assert card.name == name
    assert card.denoiser.parameters > 5e8
    for part in card.components:
        assert part.bytes == part.parameters * entry.bytes_a_parameter(part.name)
        has_weights = (Path(card.folder) / part.name / "config.json").is_file()
        assert (part.parameters > 0) == has_weights, part.name
    assert set(entry.dtypes) <= {part.name for part in card.components}


@each_model
def test_the_installed_diffusers_has_the_pipeline_and_its_models(name: str) -> None:
    card = find_model(name).card
    models = [part.class_name for part in card.components if part.parameters and part.library == "diffusers"]

    assert "prompt" in parameters(card.pipeline_class)
    assert card.denoiser.class_name in models
    assert all(parameters(each) for each in models)


@each_model
def test_every_component_has_its_file_and_no_other_has(name: str) -> None:
    index = written(name)["model_index.json"]
    named = {part: said[1] for part, said in index.items() if isinstance(said, list) and said[0]}

    paths = [path for path in written(name) if path != "model_index.json"]
    assert [path.partition("/")[0] for path in paths] == sorted(named)
    for path, config in module.shipped_files(name).items():
        if path.endswith("/config.json"):
            [class_name] = [config.get("_class_name"), *config.get("architectures", [])][-1:]
            assert class_name == named[path.partition("/")[0]].replace("Qwen3Model", "Qwen3ForCausalLM")


def test_the_folder_is_written_once_and_mended_where_it_was_damaged() -> None:
    folder = folder_of("sd15")
    before = (folder / "unet" / "config.json").stat()

    assert folder_of("sd15") == folder
    assert (folder / "unet" / "config.json").stat().st_ino == before.st_ino
    (folder / "unet" / "config.json").write_text("{}")
    assert folder_of("sd15") == folder
    assert json.loads((folder / "unet" / "config.json").read_text())["cross_attention_dim"] == 768
    assert list((cache_dir() / "configurations").iterdir()) == [folder], "no draft is left"


def test_what_is_written_otherwise_lies_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of("sd15")
    files = dict(module.shipped_files("sd15"))
    monkeypatch.setattr(module, "shipped_files", lambda _: files | {"vae/config.json": {}})

    assert folder_of("sd15") != folder


def test_layers_that_ship_are_given_without_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "compositions_of", None)

    flux = compositions(find_model("flux-dev").card)
    assert [(each.class_name, each.count) for each in flux["transformer"].blocks] == [
        ("FluxTransformerBlock", 19),
        ("FluxSingleTransformerBlock", 38),
    ]
    assert compositions(find_model("flux-kontext").card)["text_encoder_2"] == flux["text_encoder_2"]
    assert not flux["tokenizer"].layers
    [query] = [each for each in flux["transformer"].layers if each.name == "transformer_blocks.*.attn.to_q"]
    assert (query.kind, query.shape, query.count, query.parameters) == ("Linear", (3072, 3072), 19, 3072 * 3073)


def test_layers_that_ship_of_shapes_are_those_of_its_files() -> None:
    made_of = compositions(find_model("shapes").card)

    for part in ("unet", "vae", "text_encoder"):
        [file] = (WEIGHTS / part).glob("*.safetensors")
        shapes = safetensors_shapes(file)
        weights = sorted(shape for name, shape in shapes.items() if name.endswith(".weight"))
        layers = sorted(list(each.shape) for each in made_of[part].layers for _ in range(each.count))
        assert layers == weights


def test_a_folder_of_ones_own_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "shapes"
    shutil.copytree(WEIGHTS, copy)
    monkeypatch.setattr(module, "compositions_of", lambda card, cache: {"asked": card.folder, "cache": cache})

    assert compositions(find_model(str(copy)).card) == {
        "asked": str(copy),
        "cache": cache_dir() / "compositions",
    }


def test_weights_may_be_left_out_or_made_up(hub_cache: Path) -> None:
    made_up = find_model("sdxl", "random").card
    assert (made_up.weights, made_up.denoiser.parameters) == ("random", 2_567_463_684)
    require_weights(made_up)
    shapes = find_model("shapes", "random")
    assert (shapes.card.weights, shapes.scorer) == ("random", None)

    folder = snapshot(hub_cache, "sdxl")
    card = find_model("sdxl", "none").card
    assert (card.weights, card.folder) == ("none", str(folder))


def test_tuning_needs_weights_and_says_what_would_work() -> None:
    with pytest.raises(ModelError) as caught:
        tune("flux-dev")

    assert str(caught.value).startswith(
        "The weights of flux-dev are not here: 31.4 GiB of black-forest-labs/FLUX.1-dev (FLUX.1 [dev] Non-Commercial "
        "License, gated: its conditions must be accepted on the hub first). `autotune --model flux-dev --weights hub` "
        "downloads them, `--weights random` tunes latency and memory with made-up weights."
    )


@pytest.mark.parametrize(("memory_gib", "fits"), [(16, False), (31, False), (32, True), (512, True)])
def test_a_machine_that_does_not_hold_the_weights_is_told_so(memory_gib: int, fits: bool) -> None:  # noqa: FBT001
    machine = probe()
    memory = machine.memory.model_copy(update={"total_bytes": memory_gib * 2**30})
    machine = machine.model_copy(update={"memory": memory, "accelerators": ()})
    with pytest.raises(ModelError, match="made-up weights") as caught:
        require_weights(find_model("flux-dev").card, machine)
    said = f"But neither can be tuned here: in bf16 the weights alone take 31.4 GiB, and there are {memory_gib}.0 GiB"
    assert (said in str(caught.value)) is not fits


COMMIT = "0123456789" * 4


def snapshot(hub_cache: Path, name: str, *without: str) -> Path:
    """Write a snapshot of the configurations of a model into a Hugging Face cache, with weights of a few numbers."""
    repository = hub_cache / f"models--{shipped()[name].hub.replace('/', '--')}"
    folder = repository / "snapshots" / COMMIT
    shutil.copytree(folder_of(name), folder)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for config in folder.glob("*/config.json"):
        if config.parent.name not in without:
            write_weights(config.with_name(FILE), (2, 2))
    return folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_whole_snapshot_in_the_cache_is_the_model(hub_cache: Path) -> None:
    folder = snapshot(hub_cache, "sdxl")

    model = find_model("sdxl")

    assert (model.card.name, model.card.folder, model.card.weights) == ("sdxl", str(folder), "files")
    assert model.workload == shipped()["sdxl"].workload
    require_weights(model.card)


@pytest.mark.parametrize("without", ["unet", "vae", "text_encoder_2"])
def test_a_snapshot_in_part_is_none(hub_cache: Path, without: str) -> None:
    snapshot(hub_cache, "sdxl", without)

    assert find_model("sdxl").card.weights == "none"


def test_a_snapshot_that_lacks_one_of_its_files_is_none(hub_cache: Path) -> None:
    folder = snapshot(hub_cache, "sdxl")
    first, second = (f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2))
    (folder / "unet" / FILE).rename(folder / "unet" / first)
    assert find_model("sdxl").card.weights == "none"

    write_weights(folder / "unet" / second, (3,))
    assert find_model("sdxl").card.weights == "files"


def test_an_index_of_a_variant_does_not_matter(hub_cache: Path) -> None:
    folder = snapshot(hub_cache, "sdxl")
    name = "diffusion_pytorch_model.safetensors.index.fp16.json"
    write_json(folder / "unet" / name, {"weight_map": {"a": "not here"}})
    write_json(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors.index.json", {"weight_map": {"a": "no"}})

    assert find_model("sdxl").card.weights == "files"


def test_the_page_has_every_model() -> None:
    text = page()

    assert all(f"| `{name}` |" in text for name in NAMES)
    assert "14.29 B twice" in text


@pytest.mark.slow
def test_layers_that_ship_are_those_that_the_installed_libraries_build(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "autotune.planner.catalogue.rebuild", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    built = {file.name: file.read_text() for file in tmp_path.glob("*.json")}
    assert built == {file.name: file.read_text() for file in (CATALOGUE / "layers").iterdir()}
