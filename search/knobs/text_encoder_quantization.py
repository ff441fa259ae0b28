"""Text encoders: their weights in fewer bits. They run once an image, and can be a third of a model's bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Bench, Choices, Knob, Setting
from .quantization import built, cannot, loaded_in, quantize

if TYPE_CHECKING:
    from ...probes.model import Component, ModelCard
    from ..recipe import Choice

KINDS = (
    *("torchao_int8_weight_only", "torchao_int8_dynamic", "bnb_int8", "bnb_nf4", "fp8_storage"),
    *("gguf_q8_0", "gguf_q4_0", "nncf_int8_weights"),
)


def encoders(card: ModelCard) -> list[Component]:
    """Return the components that turn prompts into embeddings."""
    return [each for each in card.components if each.name.startswith("text_encoder") and each.library == "transformers"]


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Each kind needs its library; NNCF works on what OpenVINO runs, which is the CPU."""
    if not encoders(setting.card):
        return f"{setting.card.pipeline_class} has no text encoder of its own"
    return cannot(str(choice), encoders(setting.card), setting)


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return what makes transformers quantize while it loads."""
    return loaded_in(str(choices["text_encoder_quantization"]), encoders(bench.card), choices, bench)


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Quantize what could not be while loading; NNCF's share is done where OpenVINO converts."""
    quantize(pipe, str(choices["text_encoder_quantization"]), encoders(bench.card), bench)


def builds(choices: Choices, bench: Bench) -> None:
    """Write GGUF files ahead of the trial."""
    built(str(choices["text_encoder_quantization"]), encoders(bench.card), bench)


TEXT_ENCODER_QUANTIZATION = Knob(
    name="text_encoder_quantization",
    says="the text encoders' weights in fewer bits",
    choices=("none", *KINDS),
    default="none",
    lossy=frozenset(KINDS),
    source="https://huggingface.co/docs/diffusers/quantization/overview",
    refuses=refuses,
    loads=loads,
    apply=apply,
    builds=builds,
)
