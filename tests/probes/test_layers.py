"""What a part is made of, from its configuration alone: counted right, asked once, and refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import ModelError
from autotune.probes import layers as module
from autotune.probes.build import blocks, built, layers
from autotune.probes.child import Answer
from autotune.probes.layers import Block, Composition, Layer, compositions_of, layers_of, parsed
from autotune.probes.model import ModelCard, read_model
from autotune.shapes import WEIGHTS

from ..folders import write_model

SAID = {"layers": [["conv", "Conv2d", [4, 3, 3, 3], 2, 112], ["bias", "Parameter", [5], 1, 5]], "blocks": [["B", 2]]}
MEANT = Composition(
    layers=(
        Layer(name="conv", kind="Conv2d", shape=(4, 3, 3, 3), count=2, parameters=112),
        Layer(name="bias", kind="Parameter", shape=(5,), count=1, parameters=5),
    ),
    blocks=(Block(class_name="B", count=2),),
)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return read_model(write_model(tmp_path / "model"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Put a child that says the same of every part in the place of the real one; return the classes it was asked of."""
    found: list[list[str]] = []

    def ask(name: str, timeout_s: float, arguments: list[str]) -> Answer:
        assert name == "autotune.probes.build"
        assert timeout_s > 0
        found.append(arguments[2::3])
        return Answer(json.dumps({"parts": [SAID] * len(arguments[2::3])}))

    monkeypatch.setattr(module, "ask_child", ask)
    return found


def test_what_the_child_says_is_read() -> None:
    assert parsed(SAID) == MEANT
    assert MEANT.parameters == 2 * 112 + 5


@pytest.mark.parametrize("said", [{}, [], {"layers": [["conv"]], "blocks": []}, {"layers": [[1] * 5], "blocks": []}])
def test_what_is_no_composition_is_not_taken_for_one(said: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(said)


def test_models_are_built_in_one_child_and_once(card: ModelCard, asked: list[list[str]], tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    first = compositions_of(card, cache)
    second = compositions_of(card, cache)

    assert first == second == {"scheduler": Composition(), "unet": MEANT, "vae": MEANT}
    assert asked == [["UNet2DConditionModel", "AutoencoderKL"]]
    assert layers_of(card, "vae", cache) == MEANT.layers
    assert len(asked) == 1


def test_another_configuration_is_built_anew(card: ModelCard, asked: list[list[str]], tmp_path: Path) -> None:
    compositions_of(card, tmp_path / "cache")
    (Path(card.folder) / "vae" / "config.json").write_text('{"block_out_channels": [16, 16]}')
    compositions_of(card, tmp_path / "cache")

    assert asked == [["UNet2DConditionModel", "AutoencoderKL"], ["AutoencoderKL"]]


def test_other_libraries_build_anew(
    card: ModelCard, asked: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers_of(card, "vae", tmp_path / "cache")
    monkeypatch.setattr(module, "version", lambda name: f"{name} of tomorrow")
    layers_of(card, "vae", tmp_path / "cache")

    assert asked == [["AutoencoderKL"]] * 2


def test_a_broken_answer_in_the_cache_is_asked_again(card: ModelCard, asked: list[list[str]], tmp_path: Path) -> None:
    layers_of(card, "vae", tmp_path / "cache")
    [kept] = (tmp_path / "cache").iterdir()
    kept.write_text("{")

    assert layers_of(card, "vae", tmp_path / "cache") == MEANT.layers
    assert len(asked) == 2
    assert json.loads(kept.read_text()) == SAID


def test_without_a_place_to_keep_it_the_answer_is_given_all_the_same(
    card: ModelCard, asked: list[list[str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    assert layers_of(card, "vae", tmp_path / "file") == MEANT.layers
    assert len(asked) == 1


def test_what_cannot_be_built_is_said(card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ask_child", lambda *_, **__: Answer("", "failed (exit status 1)"))

    with pytest.raises(ModelError, match=r"configurations in .*model: building it without weights failed \(.* 1\)\.$"):
        layers_of(card, "vae", tmp_path)
    monkeypatch.setattr(module, "ask_child", lambda *_, **__: Answer('{"problem": "AutoencoderKL says: no"}'))
    with pytest.raises(ModelError, match=r"No model can be made of the .* in .*model: AutoencoderKL says: no\.$"):
        layers_of(card, "vae", tmp_path)
    with pytest.raises(ModelError, match="model has no text_encoder; it has scheduler, unet, vae"):
        layers_of(card, "text_encoder", tmp_path)


def small() -> Any:
    """A model with everything that is counted in a way of its own: 2 blocks, a tie, a bare parameter, buffers."""
    import torch
    from torch import nn

    class Block(nn.Module):  # type: ignore[misc]  # torch's types are not followed
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Linear(4, 4, bias=False)
            self.table = nn.Parameter(torch.zeros(6, 4))

    class Small(nn.Module):  # type: ignore[misc]  # the same
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 4)
            self.blocks = nn.ModuleList([Block(), Block()])
            self.head = nn.Linear(4, 10)
            self.head.weight = self.words.weight
            self.register_buffer("kept", torch.zeros(3))
            self.register_buffer("computed", torch.zeros(100), persistent=False)

    with torch.device("meta"):
        return Small()


def test_what_files_hold_is_counted_and_what_is_shared_once() -> None:
    assert sorted(layers(small())) == [
        ["blocks.*.proj", "Linear", [4, 4], 2, 16],
        ["blocks.*.table", "Parameter", [6, 4], 2, 24],
        ["head", "Linear", [10], 1, 10],
        ["kept", "Buffer", [3], 1, 3],
        ["words", "Embedding", [10, 4], 1, 40],
    ]


def test_blocks_are_what_lists_hold_or_what_the_class_names() -> None:
    model = small()
    assert list(blocks(model)) == [["Block", 2]]
    type(model)._repeated_blocks = ["Linear"]
    assert list(blocks(model)) == [["Linear", 3]]


@pytest.mark.slow
def test_a_real_child_counts_what_the_files_have(tmp_path: Path) -> None:
    card = read_model(WEIGHTS)

    found = compositions_of(card, tmp_path)

    assert {name: each.parameters for name, each in found.items()} == {
        part.name: part.parameters for part in card.components
    }
    assert Block(class_name="BasicTransformerBlock", count=7) in found["unet"].blocks
    assert {layer.kind for layer in found["text_encoder"].layers} == {"Embedding", "LayerNorm", "Linear"}


@pytest.mark.slow
def test_what_is_no_model_has_no_layers(tmp_path: Path) -> None:
    assert built(tmp_path, "diffusers", "DDIMScheduler") == {"layers": [], "blocks": []}
    assert built(tmp_path, "transformers", "CLIPTokenizer") == {"layers": [], "blocks": []}
