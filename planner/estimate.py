"""What would fit here, and what to begin with, before anything has run: `autotune estimate`, and a predicted plan.

The ways that are compared are those that people use on machines of every size, each with what it costs beside memory.
They stand in the order of what they are expected to be worth: first what changes no image, and of that the fastest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..search.assemble import choices_of
from ..search.knobs import KNOBS, Setting
from ..search.knobs.precision import PRECISION
from ..search.recipe import Choice, Recipe
from ..search.rules import refusal
from ..search.task import device_of
from ..search.workload import Workload
from ..value import Value
from .choose import RESERVE_BYTES, RESERVE_SHARE, said_bytes
from .predict import Lessons, Need, Shape, need_of

if TYPE_CHECKING:
    from ..probes.accelerators import Accelerator
    from ..probes.machine import Machine


@dataclass(frozen=True)
class Way:
    """A recipe that many use, and what is to be said for it; bf16 is fp16 where there is none.

    on: the devices that it is for; features: of a CPU, one of which it needs.
    """

    turned: dict[str, Choice]
    because: str
    on: Literal["cpu", "accelerator", "any"] = "accelerator"
    features: frozenset[str] = field(default_factory=frozenset)


_HALF: dict[str, Choice] = {"precision": "bf16"}
_INT8: dict[str, Choice] = {
    "quantization": "torchao_int8_weight_only",
    "text_encoder_quantization": "torchao_int8_weight_only",
}
_NF4: dict[str, Choice] = {"quantization": "bnb_nf4", "text_encoder_quantization": "bnb_nf4"}
_TILED: dict[str, Choice] = {"vae_tiling": "tiling"}
_MODEL: dict[str, Choice] = {"offload": "model"}

WAYS: tuple[Way, ...] = (
    Way({**_HALF, "compile": "regional"}, "half the bytes, and blocks that are compiled: nothing lossless is faster"),
    Way(_HALF, "half the bytes, and no other change"),
    Way({**_HALF, **_TILED}, "the image is decoded in tiles, which take less at once"),
    Way({**_HALF, **_MODEL}, "parts wait in RAM until their turn: some seconds an image"),
    Way({**_HALF, **_MODEL, **_TILED}, "parts wait in RAM, and the image is decoded in tiles"),
    Way({**_HALF, **_INT8}, "a quarter of the bytes; images change a little"),
    Way({**_HALF, **_INT8, **_MODEL}, "a quarter of the bytes, and parts wait in RAM"),
    Way({**_HALF, **_INT8, **_MODEL, **_TILED}, "a quarter of the bytes, parts wait in RAM, tiles"),
    Way({**_HALF, **_NF4}, "an eighth of the bytes; images change more"),
    Way({**_HALF, **_NF4, **_MODEL}, "an eighth of the bytes, and parts wait in RAM"),
    Way({**_HALF, **_NF4, **_MODEL, **_TILED}, "an eighth of the bytes, parts wait in RAM, tiles"),
    Way({**_HALF, "offload": "group_leaf_stream"}, "layers come from RAM while others compute: slow, exact"),
    Way({**_HALF, "offload": "group_leaf_stream", **_TILED}, "layers come from RAM while others compute, tiles"),
    Way({**_HALF, "offload": "group_leaf", **_TILED}, "layers come from RAM one by one: slower, and RAM has them once"),
    Way({**_HALF, "offload": "group_disk", **_TILED}, "layers come from disk: very slow, and it needs next to no RAM"),
    Way(
        {"compile": "openvino", **_HALF},
        "OpenVINO in bf16, which this CPU computes in",
        "cpu",
        frozenset({"avx512_bf16", "amx_bf16"}),
    ),
    Way({"compile": "openvino"}, "OpenVINO: about twice as fast as PyTorch, in fp32", "cpu"),
    Way(
        {"compile": "openvino", "quantization": "nncf_int8_weights", "text_encoder_quantization": "nncf_int8_weights"},
        "OpenVINO with weights in int8; images change a little",
        "cpu",
    ),
    Way({}, "as diffusers makes it", "any"),
    Way(_HALF, "half the bytes; slow where the CPU does not compute in bf16", "cpu"),
    Way({**_HALF, **_INT8}, "a quarter of the bytes; images change a little", "cpu"),
    Way(
        {**_HALF, "quantization": "gguf_q4_0", "text_encoder_quantization": "gguf_q4_0"},
        "an eighth of the bytes; images change more",
        "cpu",
    ),
)


class Option(Value):
    """One way to run a model, what it needs, and whether that is free. `known` is how the peak is known."""

    recipe: Recipe
    because: str
    need: Need
    fits: bool
    known: Literal["predicted", "learnt", "measured"]


class Estimate(Value):
    """What would fit, the best first. `notes` say in sentences what is not known."""

    schema_version: int = 1
    model: str
    device: str
    workload: Workload
    free_bytes: int
    free_host_bytes: int
    options: tuple[Option, ...]
    refused: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Option | None:
        """The first that fits."""
        return next((option for option in self.options if option.fits), None)


@dataclass(frozen=True)
class Room:
    """The memory that may be taken: on the device that pipelines run on, and in RAM beside it."""

    free_bytes: int
    free_host_bytes: int

    def holds(self, need: Need) -> bool:
        """Return whether a need goes in, with the reserve that a measured plan has too."""
        device = need.peak_bytes + max(RESERVE_BYTES, need.peak_bytes // RESERVE_SHARE)
        return device <= self.free_bytes and need.host_bytes <= self.free_host_bytes


def room_of(machine: Machine, max_bytes: int | None = None) -> Room:
    """Return the memory of a machine's first accelerator and its RAM, or of its CPU alone."""
    ram = machine.memory.free_bytes
    free = _free_on(machine.accelerators[0], ram) if machine.accelerators else ram
    return Room(free if max_bytes is None else min(free, max_bytes), ram)


def _free_on(accelerator: Accelerator, ram_bytes: int) -> int:
    if accelerator.unified_memory:
        return min(ram_bytes, accelerator.total_bytes)
    return accelerator.total_bytes if accelerator.free_bytes is None else accelerator.free_bytes


@dataclass(frozen=True)
class Experience:
    """What a machine's own trials say: what they teach of predictions, and the peaks of recipes that ran."""

    lessons: Lessons = field(default_factory=Lessons)
    measured: Mapping[Recipe, int] = field(default_factory=dict)


NONE = Experience()


def estimate(
    shape: Shape, machine: Machine, workload: Workload, max_bytes: int | None = None, experience: Experience = NONE
) -> Estimate:
    """Return what each way would take on a machine, and what speaks against those that cannot be had there.

    max_bytes: take no more than this, even if more is free.
    """
    device, room, measured = device_of(machine), room_of(machine, max_bytes), experience.measured
    setting = Setting(machine, shape.card, workload, device)
    options: list[Option] = []
    no_bf16 = PRECISION.refuses("bf16", setting)
    refused = {"precision=bf16": no_bf16} if no_bf16 else {}
    for way in WAYS:
        if not _is_for(way, device, machine):
            continue
        half: dict[str, Choice] = {"precision": "fp16"} if no_bf16 and "precision" in way.turned else {}
        recipe = Recipe(turned=way.turned | half)
        because = why_not(recipe, setting)
        if because:
            refused[str(recipe)] = because
            continue
        need = _as_measured(need_of(recipe, shape, workload, device, experience.lessons), measured.get(recipe))
        options.append(
            Option(
                recipe=recipe,
                because=way.because,
                need=need,
                fits=room.holds(need),
                known="measured" if recipe in measured else need.known,
            )
        )
    return Estimate(
        model=shape.card.name,
        device=device,
        workload=workload,
        free_bytes=room.free_bytes,
        free_host_bytes=room.free_host_bytes,
        options=tuple(options),
        refused=refused,
        notes=tuple(_notes(shape, machine)),
    )


def _is_for(way: Way, device: str, machine: Machine) -> bool:
    if way.features and not way.features & set(machine.cpu.features):
        return False
    return way.on == "any" or (way.on == "cpu") is (device == "cpu")


def why_not(recipe: Recipe, setting: Setting) -> str | None:
    """Return why a recipe cannot be had in a setting, None where it can: only the knobs that it turns are asked."""
    for knob in KNOBS:
        choice = recipe.turned.get(knob.name, knob.default)
        because = None if choice == knob.default else knob.refuses(choice, setting)
        if because:
            return f"{knob.name}={choice}: {because}"
    rule = refusal(choices_of(recipe), adapted=bool(setting.added.adapters))
    return rule.because if rule else None


def _as_measured(need: Need, peak_bytes: int | None) -> Need:
    """Return a need whose peak is what was measured, where it was."""
    if peak_bytes is None:
        return need
    scaled = {
        phase: round(getattr(need, phase) * peak_bytes / need.peak_bytes)
        for phase in ("load_bytes", "encode_bytes", "denoise_bytes", "decode_bytes")
    }
    return need.model_copy(update={**scaled, "low_bytes": peak_bytes, "high_bytes": peak_bytes})


_CHOSEN_BY = {"cuda": "CUDA_VISIBLE_DEVICES", "rocm": "HIP_VISIBLE_DEVICES"}


def _notes(shape: Shape, machine: Machine) -> Sequence[str]:
    notes = []
    if not shape.demands:
        notes.append(
            f"What a {shape.card.pipeline_class} takes while it computes is not known: these are its weights alone."
        )
    if machine.accelerators and machine.accelerators[0].kind != "cuda":
        notes.append(f"What {machine.accelerators[0].kind} adds was never measured: the figures for CUDA stand in.")
    if len(machine.accelerators) > 1:
        chosen_by = _CHOSEN_BY.get(machine.accelerators[0].kind)
        other = f"; {chosen_by} chooses another" if chosen_by else ""
        notes.append(f"Of {len(machine.accelerators)} accelerators the first is used{other}.")
    return notes


def said_room(estimate: Estimate) -> str:
    """Return the memory that is free, in words."""
    if estimate.device == "cpu":
        return f"{said_bytes(estimate.free_bytes)} of RAM"
    return f"{said_bytes(estimate.free_bytes)} on {estimate.device}, {said_bytes(estimate.free_host_bytes)} of RAM"
