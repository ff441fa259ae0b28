"""Which parts of a pipeline become graphs, what each graph depends on, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from ....value import key_of
from ...adapters import adapters_in
from ..deepcache import INTERVALS
from ..text_encoder_quantization import encoders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ....probes.model import Component, ModelCard
    from ...recipe import Choice
    from ...workload import Workload
    from ..knob import Bench, Choices

TEXT_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel", "UMT5EncoderModel")
"""Text encoders whose calls have one shape, whatever the prompt; others stay with torch."""

SPLIT_BY_ROW = ("UNet2DConditionModel",)
"""Denoisers whose tensors have one row for each image, but for those that all share, such as the timestep."""

LARGE_PARAMETERS = 100_000_000
"""Denoisers from here on: their weights are what memory is spent on, and one row of a batch keeps all cores busy."""


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

    changes: what else was done to the part before it was converted; added: the adapters that the pipeline has; by_row:
    it is of one row, and is called once for each row of a batch.
    """

    part: Part
    workload: Workload
    quantization: Choice
    changes: tuple[Choice, ...] = ()
    added: tuple[str, ...] = ()
    by_row: bool = False

    @property
    def calibrated(self) -> bool:
        """Whether it takes real calls to quantize it, because activations are quantized too."""
        return self.quantization == "nncf_int8"

    def folder(self, bench: Bench) -> Path:
        """Return where it lies: what the graph depends on is in the name; its precision is not, it only computes so."""
        workload = self.workload.model_copy(update={"batch": 1}) if self.by_row else self.workload
        elsewhere = [each.revision for each in bench.card.components if each.name == self.part.component]
        facts: list[Any] = [bench.card.revision, bench.software, workload.key, self.quantization, list(self.changes)]
        facts += [[*filter(None, elsewhere)], list(self.added), self.by_row]
        return bench.artifacts / "openvino" / f"{self.part.component}-{key_of(facts)}"


def parts_of(choices: Choices, bench: Bench) -> list[Graphed]:
    """Return the graphs that a recipe runs."""
    return [*_text_encoders(choices, bench), *_denoisers(choices, bench), *_decoder(choices, bench)]


def _text_encoders(choices: Choices, bench: Bench) -> Iterator[Graphed]:
    for encoder in encoders(bench.card):
        if encoder.class_name in TEXT_ENCODERS:
            added = tuple(adapters_in(choices, bench))
            yield Graphed(Part(encoder.name), bench.workload, choices["text_encoder_quantization"], added=added)


def is_graphed(component: Component, card: ModelCard) -> bool:
    """Return whether OpenVINO runs a component; what it does not stays with torch."""
    return component.name in {card.denoiser.name, "vae"} or component.class_name in TEXT_ENCODERS


def runs_by_row(card: ModelCard) -> bool:
    """Return whether the denoiser has one graph of one row, whatever the batch.

    Each batch size would need a graph with all the weights, and guidance that ends early has two. Of a large UNet two
    calls of one row take as long as one of two rows. docs/adr/0005-a-large-unet-is-one-graph-of-one-row.md
    """
    return card.denoiser.class_name in SPLIT_BY_ROW and is_large(card)


def is_large(card: ModelCard) -> bool:
    """Return whether the denoiser is one whose conversion and calls take minutes and seconds on a CPU."""
    return card.denoiser.parameters >= LARGE_PARAMETERS


def _denoisers(choices: Choices, bench: Bench) -> Iterator[Graphed]:
    halves = ("whole", "shallow") if choices["feature_cache"] in INTERVALS else ("",)
    by_row = runs_by_row(bench.card)
    workloads = [bench.workload]
    if choices["guidance_cutoff"] != 1.0 and not by_row:
        workloads.append(bench.workload.model_copy(update={"guidance": 1.0}))
    for half, workload in product(halves, workloads):
        part = Part(bench.card.denoiser.name, half=half)
        changes, added = (choices["tome_ratio"], half), tuple(adapters_in(choices, bench))
        yield Graphed(part, workload, choices["quantization"], changes, added, by_row=by_row)


def _decoder(choices: Choices, bench: Bench) -> Iterator[Graphed]:
    if bench.card.has("vae"):
        yield Graphed(Part("vae", "decode"), bench.workload, choices["vae_quantization"])
