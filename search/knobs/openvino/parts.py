"""Which parts of a pipeline become graphs, what each graph depends on, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from ....value import key_of
from ..deepcache import INTERVALS
from ..text_encoder_quantization import encoders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ...recipe import Choice
    from ...workload import Workload
    from ..knob import Bench, Choices

TEXT_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel", "UMT5EncoderModel")
"""Text encoders whose calls have one shape, whatever the prompt; others stay with torch."""


@dataclass(frozen=True)
class Part:
    """A method of a component that a pipeline calls; of a UNet with cached features, one of its halves."""

    component: str
    method: str = "forward"
    half: str = ""

    def module(self, pipe: Any) -> Any:
        """Return the module whose method it is."""
        component = getattr(pipe, self.component)
        return getattr(component.deepcache, self.half) if self.half else component


@dataclass(frozen=True)
class Graphed:
    """One graph to be made: of which part, quantized how, for the shapes that a workload gives it.

    changes: what else was done to the part before it was converted.
    """

    part: Part
    workload: Workload
    quantization: Choice
    changes: tuple[Choice, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether it takes real calls to quantize it, because activations are quantized too."""
        return self.quantization == "nncf_int8"

    def folder(self, bench: Bench) -> Path:
        """Return where it lies: what the graph depends on is in the name; its precision is not, it only computes so."""
        facts = [bench.card.revision, bench.software, self.workload.key, self.quantization, list(self.changes)]
        return bench.artifacts / "openvino" / f"{self.part.component}-{key_of(facts)}"


def parts_of(choices: Choices, bench: Bench) -> list[Graphed]:
    """Return the graphs that a recipe runs."""
    return [*_text_encoders(choices, bench), *_denoisers(choices, bench), *_decoder(choices, bench)]


def _text_encoders(choices: Choices, bench: Bench) -> Iterator[Graphed]:
    for encoder in encoders(bench.card):
        if encoder.class_name in TEXT_ENCODERS:
            yield Graphed(Part(encoder.name), bench.workload, choices["text_encoder_quantization"])


def _denoisers(choices: Choices, bench: Bench) -> Iterator[Graphed]:
    halves = ("whole", "shallow") if choices["feature_cache"] in INTERVALS else ("",)
    workloads = [bench.workload]
    if choices["guidance_cutoff"] != 1.0:
        workloads.append(bench.workload.model_copy(update={"guidance": 1.0}))
    for half, workload in product(halves, workloads):
        part = Part(bench.card.denoiser.name, half=half)
        yield Graphed(part, workload, choices["quantization"], (choices["tome_ratio"], half))


def _decoder(choices: Choices, bench: Bench) -> Iterator[Graphed]:
    if bench.card.has("vae"):
        yield Graphed(Part("vae", "decode"), bench.workload, choices["vae_quantization"])
