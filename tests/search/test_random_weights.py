"""Made-up weights: the pipeline at its size, the same numbers in every process, and never a second copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.errors import ModelError, UsageError
from autotune.planner.catalogue.configurations import sized
from autotune.planner.request import Request, task_of
from autotune.probes.model import Component, ModelCard, read_model
from autotune.search.assemble import assemble, build
from autotune.search.knobs import Bench
from autotune.search.pipeline import call_pipeline
from autotune.search.random_weights import make, tensors_in, values
from autotune.search.recipe import UNMODIFIED, Choice, Recipe
from autotune.search.stand_in_tokenizer import stand_in_tokenizer
from autotune.search.trial.images import checked
from autotune.search.verify.architectures import ARCHITECTURES, Architecture

from .small import ARCHITECTURE_OF, bench_of

if TYPE_CHECKING:
    from autotune.probes.machine import Machine

pytestmark = pytest.mark.filterwarnings("ignore")  # torch and torchao warn of each other

BF16 = Recipe(turned={"precision": "bf16"})
INT8: dict[str, Choice] = {
    "precision": "bf16",
    "quantization": "torchao_int8_weight_only",
    "text_encoder_quantization": "torchao_int8_weight_only",
}


def bare_bench(architecture: Architecture, folder: Path) -> Bench:
    """Write a small pipeline, take its weights and its words away, and return its bench with made-up ones."""
    bench = bench_of(architecture, folder)
    model = Path(bench.card.folder)
    for file in model.glob("*/*"):
        words = file.parent.name.startswith("tokenizer") and file.name != "tokenizer_config.json"
        if words or file.suffix == ".safetensors":
            file.unlink()
    return replace(bench, card=read_model(model, weights="random"))


def image(bench: Bench, recipe: Recipe) -> np.ndarray:
    build(recipe, bench)
    pipe = assemble(recipe, bench)
    made = call_pipeline(pipe, bench.workload, "a red circle", 3, output_type="np")
    assert checked(made) is None
    return np.asarray(made, dtype=np.float32)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bare_bench(ARCHITECTURE_OF["sd"], tmp_path_factory.mktemp("bare"))


def test_a_folder_of_configurations_makes_images(bare: Bench) -> None:
    first = image(bare, UNMODIFIED)
    assert np.array_equal(image(bare, UNMODIFIED), first)
    assert image(bare, BF16).shape == first.shape


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_every_kind_of_pipeline_makes_images(architecture: Architecture, tmp_path: Path) -> None:
    bench = bare_bench(architecture, tmp_path)
    first = image(bench, UNMODIFIED)
    assert np.array_equal(image(bench, UNMODIFIED), first)
    for recipe in (BF16, Recipe(turned=INT8), Recipe(turned={"precision": "fp16"})):
        image(bench, recipe)


def formats(pipe: Any) -> dict[str, tuple[Any, ...]]:
    return {
        f"{component}.{name}": (type(tensor).__name__, tensor.dtype, tuple(tensor.shape))
        for component, module in pipe.components.items()
        if hasattr(module, "named_modules")
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }


@pytest.mark.parametrize(
    "name", ["sd", *(pytest.param(each, marks=pytest.mark.slow) for each in ARCHITECTURE_OF if each != "sd")]
)
@pytest.mark.parametrize("turned", [{}, {"precision": "bf16"}, {"precision": "fp16"}, INT8], ids=len)
def test_all_but_the_numbers_is_as_from_files(name: str, turned: dict[str, Any], tmp_path: Path) -> None:
    """Classes of layers, of weights, and formats: also what a class keeps in fp32, and how layers are quantized."""
    bench = bench_of(ARCHITECTURE_OF[name], tmp_path)
    made_up = replace(bench, card=read_model(Path(bench.card.folder), weights="random"))
    recipe = Recipe(turned=turned)
    ours, theirs = assemble(recipe, made_up), assemble(recipe, bench)
    assert formats(ours) == formats(theirs)
    for component in ("unet", "transformer", "text_encoder"):
        if (module := getattr(ours, component, None)) is not None:
            kinds = [type(each) for each in module.modules()]
            assert kinds == [type(each) for each in getattr(theirs, component).modules()]
            assert not module.training


@pytest.mark.slow
@pytest.mark.parametrize(
    "turned",
    [
        {"precision": "bf16", "quantization": "gguf_q8_0", "text_encoder_quantization": "gguf_q4_0"},
        {"compile": "openvino", "precision": "bf16"},
        {"precision": "bf16", "quantization": "torchao_int4_cpu"},
        {"precision": "bf16", "quantization": "torchao_int8_dynamic_wide"},
        {"precision": "bf16", "quantization": "bnb_nf4", "text_encoder_quantization": "bnb_int8"},
        {"precision": "bf16", "quantization": "quanto_int8"},
        {"precision": "bf16", "vae_precision": "fp32", "quantization": "fp8_storage"},
    ],
    ids=lambda turned: "-".join(map(str, turned.values())),
)
def test_what_works_with_files_works_without(turned: dict[str, Any], bare: Bench) -> None:
    for library in ("gguf", "openvino", "bitsandbytes", "optimum.quanto"):
        if library.split(".")[-1][:3] in str(turned):
            pytest.importorskip(library)
    image(bare, Recipe(turned=turned))


def component_of(folder: Path, config: Any, library: str, class_name: str) -> Any:
    """Return a component with made-up weights of which there is only a configuration."""
    import torch

    config.save_pretrained(folder / "part")
    part = Component(name="part", library=library, class_name=class_name, parameters=0, bytes=0)
    card = ModelCard(
        name="m", folder=str(folder), revision="r", pipeline_class="P", components=(part,), native_pixels=None
    )
    return make(card, part, torch.float32)


def test_weights_that_two_layers_share_are_made_once(tmp_path: Path) -> None:
    """Of a text encoder that can generate, as those of Qwen-Image and Z-Image do."""
    from transformers import Qwen3Config

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 100, "head_dim": 32}
    config = Qwen3Config(**sizes, num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True)
    made = component_of(tmp_path, config, "transformers", "Qwen3ForCausalLM")
    assert made.lm_head.weight is made.model.embed_tokens.weight
    assert not any(tensor.is_meta for tensor in (*made.parameters(), *made.buffers()))


def test_a_safety_checker_finds_nothing(tmp_path: Path) -> None:
    """It is a class of transformers' kind in one of diffusers' folders; what it finds would be made black."""
    import torch
    from transformers import CLIPConfig

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(vision_config={**sizes, "num_attention_heads": 2}, projection_dim=64)
    library = "diffusers.pipelines.stable_diffusion"
    made = component_of(tmp_path, config, library, "StableDiffusionSafetyChecker")
    clip_input = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert made(clip_input=clip_input, images=np.ones((8, 8, 8, 3)))[1] == [False] * 8


class TestValues:
    """One tensor is what its name says."""

    def test_a_tensor_is_the_same_in_every_process_and_as_large_as_its_sums_need(self) -> None:
        import torch

        program = (
            "import torch; from autotune.search.random_weights import values;"
            "print(values('a.weight', (64, 400), torch.float32).double().sum().item())"
        )
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        made = values("a.weight", (64, 400), torch.float32)
        assert float(said) == made.double().sum().item()
        assert made.std().item() == pytest.approx(400**-0.5, rel=0.05)
        assert not torch.equal(made, values("b.weight", (64, 400), torch.float32))
        assert torch.equal(values("a.weight", (64, 400), torch.bfloat16), made.bfloat16())

    def test_more_numbers_than_the_pool_has_leave_no_two_rows_alike(self) -> None:
        import torch

        made = values("a.weight", (2048, 1024), torch.float32)
        assert torch.linalg.matrix_rank(made[::2][:256]) == 256
        assert len(torch.unique(made[:, 0])) > 2000

    def test_norms_are_one_and_biases_zero(self) -> None:
        import torch

        assert values("norm.weight", (8,), torch.float16).eq(1).all()
        assert values("norm.gamma", (8, 1, 1), torch.float16).eq(1).all()
        assert values("conv.bias", (8,), torch.float16).eq(0).all()


CHILD = """
import json, sys
import torch
from autotune.probes.model import Component, ModelCard
from autotune.search.random_weights import make
from autotune.search.trial.memory import PeakMemory

folder, library, name, quantized = sys.argv[1:]
card = ModelCard(
    name="m", folder=folder, revision="r", pipeline_class="P", components=(), native_pixels=None, weights="random"
)

def made(part):
    how = None
    if quantized == "int8":
        from torchao.quantization import Int8WeightOnlyConfig
        how = getattr(__import__(library), "TorchAoConfig")(Int8WeightOnlyConfig())
    component = Component(name=part, library=library, class_name=name, parameters=0, bytes=0)
    return make(card, component, torch.bfloat16, quantization=how)

made("small")  # what this imports is no weight
memory = PeakMemory()
memory.start("cpu")
module = made("large")
print(json.dumps([memory.peak_bytes(), sum(each.numel() * each.element_size() for each in module.parameters())]))
"""

FLUX = {"_class_name": "FluxTransformer2DModel", "num_layers": 1, "joint_attention_dim": 1024}
T5 = {"model_type": "t5", "d_model": 768, "d_ff": 3072, "num_heads": 12, "d_kv": 64}
PARTS = {
    "diffusers": (
        {**FLUX, "num_attention_heads": 1, "num_single_layers": 1},
        {**FLUX, "num_attention_heads": 8, "num_single_layers": 4},
    ),
    "transformers": ({**T5, "num_layers": 1, "vocab_size": 64}, {**T5, "num_layers": 12, "vocab_size": 8000}),
}


WHAT_IS_FREE_IS_GONE = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
"""Else glibc keeps freed blocks of up to 32 MiB, and its heap would be measured instead of what is in it."""


@pytest.mark.slow
@pytest.mark.parametrize("library", PARTS)
def test_there_is_never_a_second_copy(library: str, tmp_path: Path) -> None:
    """200 MB in bf16; in int8 at no time what they are in bf16."""
    for part, config in zip(("small", "large"), PARTS[library], strict=True):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    name = "FluxTransformer2DModel" if library == "diffusers" else "T5EncoderModel"

    def measured(how: str) -> list[int]:
        command = [sys.executable, "-c", CHILD, str(tmp_path), library, name, how]
        done = subprocess.run(command, env=WHAT_IS_FREE_IS_GONE, capture_output=True, text=True, check=True)
        found: list[int] = json.loads(done.stdout.splitlines()[-1])
        return found

    peak, size = measured("")
    assert 150e6 < size < 300e6
    assert 0.9 * size < peak < 1.3 * size
    assert measured("int8")[0] < 0.85 * size, size


class TestTokenizer:
    """What stands in for a tokenizer is called as the real ones are."""

    @pytest.mark.parametrize(("name", "part"), [("sd", "tokenizer"), ("flux", "tokenizer_2"), ("sana", "tokenizer")])
    def test_ids_are_padded_cut_and_known_to_the_text_encoder(self, name: str, part: str, tmp_path: Path) -> None:
        bench = bare_bench(ARCHITECTURE_OF[name], tmp_path)
        words = stand_in_tokenizer(bench.card, next(each for each in bench.card.components if each.name == part))
        file = Path(bench.card.folder) / part.replace("tokenizer", "text_encoder") / "config.json"
        config = json.loads(file.read_text())
        prompts = ["a large red circle", "word " * 500]
        made = words(
            prompts, padding="max_length", max_length=words.model_max_length, truncation=True, return_tensors="pt"
        )
        assert made.input_ids.shape == made.attention_mask.shape == (2, words.model_max_length)
        assert 0 <= int(made.input_ids.min()) <= int(made.input_ids.max()) < config["vocab_size"]
        assert made.attention_mask[1].all()
        if name != "sana":
            assert int(made.input_ids[1, -1]) == words.eos_token_id == config["eos_token_id"]
        assert words.batch_decode(made.input_ids)
        assert 4 <= len(words("a large red circle").input_ids) <= 8
        assert words("").input_ids is not None

    def test_clips_first_configurations_mean_the_last_word_of_the_vocabulary(self, tmp_path: Path) -> None:
        encoder, words = tmp_path / "text_encoder", tmp_path / "tokenizer"
        encoder.mkdir()
        words.mkdir()
        said = {
            "vocab_size": 49408,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 1,
            "max_position_embeddings": 77,
        }
        (encoder / "config.json").write_text(json.dumps(said))
        part = Component(name="tokenizer", library="transformers", class_name="CLIPTokenizer", parameters=0, bytes=0)
        card = ModelCard(
            name="m", folder=str(tmp_path), revision="r", pipeline_class="P", components=(part,), native_pixels=None
        )
        made = stand_in_tokenizer(card, part)
        ids = made("a circle", padding="max_length", return_tensors="pt").input_ids
        assert ids.shape == (1, 77)
        assert int(ids.argmax()) == ids[0].tolist().index(made.eos_token_id) == 4


class TestTask:
    """What is asked of a model whose weights are made up."""

    def test_it_is_another_model_than_that_of_the_files(self, machine: Machine, tmp_path: Path) -> None:
        folder = Path(bench_of(ARCHITECTURE_OF["sd"], tmp_path).card.folder)
        real, _ = task_of(Request(model=str(folder)), machine)
        made_up, _ = task_of(Request(model=str(folder), weights="random"), machine)
        assert made_up.card.revision != real.card.revision
        assert made_up.card.architecture == real.card.architecture
        assert (real.scope.weights, made_up.scope.weights) == ("", "random")
        assert real.scope.key != made_up.scope.key

    def test_nothing_judges_quality(self, machine: Machine) -> None:
        assert task_of(Request(model="shapes", weights="random"), machine)[0].scorer is None
        with pytest.raises(UsageError, match="leave out a scorer"):
            Request(model="shapes", weights="random", scorer=Path("clip"))
        with pytest.raises(UsageError, match="leave out distilled variants"):
            Request(model="shapes", weights="random", allow=("distilled",), distilled=("tiny_vae=x",))
        with pytest.raises(UsageError, match="Weights can be had from hub or random, and 'zeros' was given"):
            Request(model="shapes", weights="zeros")

    @pytest.mark.slow
    def test_parameters_are_counted_without_files(self, bare: Bench, tmp_path: Path) -> None:
        whole = bench_of(ARCHITECTURE_OF["sd"], tmp_path).card
        counted = {each.name: each.parameters for each in sized(bare.card).components}
        assert counted == {each.name: each.parameters for each in whole.components}
        assert sized(whole) is whole

    @pytest.mark.slow
    def test_configurations_that_no_class_takes_are_said_to_be_none(self, tmp_path: Path) -> None:
        card = bare_bench(ARCHITECTURE_OF["sd"], tmp_path).card
        (Path(card.folder) / "unet" / "config.json").write_text('{"block_out_channels": [1, 2, 3]}')
        with pytest.raises(ModelError, match=r"of the configurations in .*: UNet2DConditionModel says: "):
            sized(card)

    def test_shapes_are_those_that_the_files_would_have(self, bare: Bench, tmp_path: Path) -> None:
        card = bench_of(ARCHITECTURE_OF["sd"], tmp_path).card
        for component in card.components:
            shapes = {name: tensor.shape for name, tensor in tensors_in(card, component).items()}
            assert {name: tensor.shape for name, tensor in tensors_in(bare.card, component).items()} == shapes
