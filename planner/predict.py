"""What a recipe will take, before anything runs: the peak of its memory, phase by phase, and how far it may be off.

Weights are known exactly, from the shapes of layers. What computing takes beside them was counted in a rehearsal. What
is left is what this machine's libraries add, and what loading needs for a while: that is measured, by
`benchmarks/memory_model.py` for a start, and by this machine's own trials wherever there are some.
docs/adr/0010-memory-is-counted-not-fitted.md
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..probes.layers import Layer
from ..search.assemble import choices_of
from ..search.footprint import ITEM_BYTES, kept_bytes, kind_of, precision_of, quantized_of, weights_of
from ..search.knobs.offload import GROUPS, STREAMS
from ..search.knobs.openvino.parts import is_graphed
from ..search.knobs.vae_tiling import tile_of
from ..value import Value

if TYPE_CHECKING:
    from ..probes.model import Component, ModelCard
    from ..search.demand import Demand
    from ..search.knobs import Choices
    from ..search.measured import Trial
    from ..search.recipe import Recipe
    from ..search.workload import Workload

MIB = 2**20


class Need(Value):
    """The peaks of memory that a recipe is expected to have, in bytes.

    The phases are of the device that the pipeline runs on: while it loads, while its text encoders, its denoiser and
    its VAE compute. `host_bytes` is RAM beside an accelerator, at its peak, and `pinned_bytes` the part of it that
    cannot be swapped. `low_bytes` and `high_bytes` are where the peak may be; `known` says whether this machine's own
    trials have taught it.
    """

    load_bytes: int
    encode_bytes: int
    denoise_bytes: int
    decode_bytes: int
    host_bytes: int = 0
    pinned_bytes: int = 0
    low_bytes: int
    high_bytes: int
    known: Literal["predicted", "learnt"] = "predicted"

    @property
    def peak_bytes(self) -> int:
        """The most that it takes on its device."""
        return max(self.load_bytes, self.encode_bytes, self.denoise_bytes, self.decode_bytes)

    @property
    def worst_phase(self) -> str:
        """The phase that takes the most."""
        phases = ("load", "encode", "denoise", "decode")
        return max(phases, key=lambda phase: int(getattr(self, f"{phase}_bytes")))


@dataclass(frozen=True)
class Shape:
    """What is known of a model that has not run: what its parts are made of, and what they take while they compute."""

    card: ModelCard
    layers: Mapping[str, Sequence[Layer]]
    demands: Sequence[Demand]


@dataclass(frozen=True)
class Habit:
    """What the libraries add to what was counted, in one way of running: bytes, and a share of what computing takes.

    low, high: where measured peaks lie, as shares of the predicted one.
    """

    base_bytes: int
    share: float
    low: float = 0.85
    high: float = 1.15


HABITS: dict[tuple[str, str], Habit] = {
    ("cpu", "torch"): Habit(110 * MIB, 1.05),
    ("cpu", "quantized"): Habit(170 * MIB, 1.05),
    ("cpu", "gguf"): Habit(125 * MIB, 1.05),
    ("cpu", "cast"): Habit(260 * MIB, 1.05, 0.8, 1.15),  # each layer's weights are made anew: the heap keeps some
    ("cpu", "inductor"): Habit(200 * MIB, 1.05),
    ("cpu", "openvino"): Habit(150 * MIB, 0.75),  # a graph's tensors take the places of those that are done with
    ("cuda", "torch"): Habit(64 * MIB, 1.9, 0.85, 1.2),
}
"""By device and way of running. A GPU's are from Flux-dev on an H100 as others published it, not from a run of ours."""

EXPANDED_BYTES = 6
"""What a number of a convolution takes that a graph has in int8: expanded to fp32, and partly in another order too."""

SO_FAR = {"load": 0.6}
"""What of a habit's bytes is there in a phase already: the first call imports, starts threads and makes buffers."""

COPIES_WHILE_LOADING = {"torchao": 0.75, "bnb": 1.35, "quanto": 1.3}
"""Copies that quantizing on a CPU makes, as a share of the bytes that are quantized; they are given back afterwards."""


@dataclass(frozen=True)
class Lessons:
    """What this machine's own trials have taught of each way of running.

    more_bytes: how many more it took than was predicted, in the middle. scale: what that is multiplied by, since some
    trials took more still. low, high: where measured peaks lie, as shares of what is predicted with these.
    """

    more_bytes: Mapping[str, int] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)

    def taught(self, recipe: Recipe, predicted_bytes: int) -> int:
        """Return what a peak that was predicted without lessons is with them."""
        way = way_of(choices_of(recipe))
        return round((predicted_bytes + self.more_bytes.get(way, 0)) * self.scale.get(way, 1))


FEWEST_LESSONS = 4
MOST_TOO_LOW = 1.1
"""So many times what is predicted a trial may have taken; where one took more, more is predicted from then on..."""
MOST_SCALE = 1.1
"""...but no more than this, whatever came over one trial."""


def way_of(choices: Choices) -> str:
    """Return the way of running that decides what is added: plain, on weights of some kind, compiled."""
    if choices["compile"] == "openvino":
        return "openvino"
    if choices["compile"] != "none" or choices["vae_compile"]:
        return "inductor"
    kinds = {choices[knob] for knob in ("quantization", "text_encoder_quantization", "vae_quantization")} - {"none"}
    if "fp8_storage" in kinds:
        return "cast"
    if kinds and all(str(kind).startswith("gguf") for kind in kinds):
        return "gguf"  # it comes quantized, and leaves no copies behind
    return "quantized" if kinds else "torch"


def need_of(recipe: Recipe, shape: Shape, workload: Workload, device: str, lessons: Lessons | None = None) -> Need:
    """Return what a recipe is expected to take for a workload on a device (`cpu`, `cuda`)."""
    choices, lessons = choices_of(recipe), lessons or Lessons()
    way = way_of(choices)
    habit = HABITS.get((device, way)) or HABITS.get((device, "torch")) or HABITS["cuda", "torch"]
    more = habit.base_bytes + lessons.more_bytes.get(way, 0)
    computing = {name: round(habit.share * taken) for name, taken in _computing(shape, choices, workload).items()}
    counted = (
        _on_cpu(shape, choices, computing) if device in {"cpu", "mps"} else _on_accelerator(shape, choices, computing)
    )
    scale = lessons.scale.get(way, 1)
    phases = {phase: round((size + more * SO_FAR.get(phase, 1)) * scale) for phase, size in counted.phases.items()}
    peak = max(phases.values())
    return Need(
        **{f"{phase}_bytes": size for phase, size in phases.items()},
        host_bytes=counted.host_bytes,
        pinned_bytes=counted.pinned_bytes,
        low_bytes=round(peak * lessons.low.get(way, habit.low)),
        high_bytes=round(peak * lessons.high.get(way, habit.high)),
        known="learnt" if way in lessons.more_bytes else "predicted",
    )


def lessons_of(trials: Iterable[Trial]) -> Lessons:
    """Return what trials teach for which a peak had been predicted.

    The middle of the differences is added from then on. Who runs out of memory has lost more than who left some unused,
    so where a trial took over a tenth more even then, all is scaled until none did. How far single trials are from that
    is the band, never narrower than 3 % on either side.
    """
    by_way: dict[str, list[tuple[int, int]]] = {}
    for trial in trials:
        if trial.outcome in {"ok", "slow"} and trial.peak_memory_bytes and trial.predicted_bytes:
            pair = trial.peak_memory_bytes, trial.predicted_bytes
            by_way.setdefault(way_of(choices_of(trial.recipe)), []).append(pair)
    taught = {way: pairs for way, pairs in by_way.items() if len(pairs) >= FEWEST_LESSONS}
    more = {way: round(statistics.median(m - said for m, said in pairs)) for way, pairs in taught.items()}
    shares = {way: [measured / (said + more[way]) for measured, said in pairs] for way, pairs in taught.items()}
    scale = {way: min(MOST_SCALE, max(1.0, max(found) / MOST_TOO_LOW)) for way, found in shares.items()}
    shares = {way: [share / scale[way] for share in found] for way, found in shares.items()}
    return Lessons(
        more,
        scale,
        {way: min(0.97, *found) for way, found in shares.items()},
        {way: max(1.03, *found) for way, found in shares.items()},
    )


@dataclass(frozen=True)
class _Counted:
    phases: dict[str, int]
    host_bytes: int = 0
    pinned_bytes: int = 0


def _computing(shape: Shape, choices: Choices, workload: Workload) -> dict[str, int]:
    """Return what each part takes while it computes, beside its weights."""
    taken = {}
    for component in shape.card.components:
        precision = "fp32" if ITEM_BYTES[precision_of(component, choices)] == 4 else "bf16"
        called = _tiled(workload, choices, component, shape.card) if component.name == "vae" else workload
        for demand in shape.demands:
            if (demand.component, demand.precision) == (component.name, precision):
                taken[component.name] = demand.scratch_bytes(called)
    return taken


TILE = 512  # pixels, where neither the VAE's class nor its configuration says


def _tiled(workload: Workload, choices: Choices, vae: Component, card: ModelCard) -> Workload:
    """Return the call of the VAE that is made at once: a tile of an image, or one image of a batch."""
    if choices["vae_tiling"] == "tiling":
        side = tile_of(vae, card) or TILE
        sides = {"width": min(side, workload.width), "height": min(side, workload.height)}
        return workload.model_copy(update=sides)
    return workload.model_copy(update={"batch": 1}) if choices["vae_tiling"] == "slicing" else workload


PHASES = ("encode", "denoise", "decode")


def _phase_of(component: Component, card: ModelCard) -> str:
    if component.name == card.denoiser.name or component.name.startswith(card.denoiser.name):
        return "denoise"
    return "decode" if component.name == "vae" else "encode"


def _most(shape: Shape, taken: Mapping[str, int]) -> dict[str, int]:
    """Return the most that a part of each phase takes."""
    most = dict.fromkeys(PHASES, 0)
    for component in shape.card.components:
        phase = _phase_of(component, shape.card)
        most[phase] = max(most[phase], taken.get(component.name, 0))
    return most


def _on_cpu(shape: Shape, choices: Choices, computing: Mapping[str, int]) -> _Counted:
    """Return the phases where the weights' files and the pipeline share one memory.

    A part whose precision is that of its files is not copied: its pages come when they are used, which those of an
    embedding's other words and of a VAE's encoder are not. Else the file is there until the part is made.
    """
    weights = weights_of(shape.layers, shape.card, choices)
    loaded, most, used_later = 0, 0, 0
    for component in _in_loading_order(shape.card, choices):
        if component.name not in weights:
            continue
        made, kept, copies = _loaded(component, shape, choices, weights[component.name])
        most = max(most, loaded + kept + copies)
        loaded += kept
        used_later += made
    resident = loaded + used_later
    taken = _most(shape, computing)
    return _Counted({"load": most, **{phase: resident + taken[phase] for phase in PHASES}})


def _in_loading_order(card: ModelCard, choices: Choices) -> list[Component]:
    """Return the parts as they take memory: what is quantized once all is loaded, the denoiser first."""
    afterwards = str(choices["quantization"]).startswith("bnb")
    return sorted(card.components, key=lambda each: not (afterwards and each.name == card.denoiser.name))


def _loaded(component: Component, shape: Shape, choices: Choices, weights: int) -> tuple[int, int, int]:
    """Return what of a part comes when it is used, what is there once it is loaded, and what only while it is."""
    layers = shape.layers[component.name]
    kind = kind_of(component, shape.card, choices)
    item = ITEM_BYTES[precision_of(component, choices)]
    same = component.bytes > 0 and round(component.bytes / max(1, component.parameters)) == item
    quantized = quantized_of(layers, component, shape.card, choices)
    copies = round(COPIES_WHILE_LOADING.get(kind.split("_")[0], 0) * item * quantized.numbers)
    made_up = shape.card.weights == "random"  # there are no files
    if choices["compile"] == "openvino" and is_graphed(component, shape.card):
        used = _used_numbers(layers, component) if component.name == "vae" else sum(map(_numbers, layers))
        in_graph = weights + _laid_out_bytes(layers, weights, kind)
        return 0, round(in_graph * used / sum(map(_numbers, layers))), 0
    if kind.startswith("gguf"):
        return 0, weights, weights - quantized.bytes  # what has no blocks is copied out of the file
    if not same or made_up:
        file = 0 if made_up else component.bytes
        views = kept_bytes(layers, component, shape.card, choices)
        if views and round(file / component.parameters) == 4:  # what stays in fp32 is not copied: its file stays
            return 0, weights - views + file, copies
        return 0, weights, file + copies
    used = item * _used_numbers(layers, component)
    laid_out = item * _laid_out_numbers(layers, component, shape.card, choices)
    if kind == "none":
        return max(0, used - laid_out), 2 * laid_out, 0  # as they are in the file, and as they are laid out
    touched = item * quantized.numbers
    return max(0, used - touched), touched + quantized.bytes, copies


def _laid_out_bytes(layers: Sequence[Layer], weights: int, kind: str) -> int:
    """Return what OpenVINO lays out beside the map of a graph's file: a convolution's weights alone are expanded."""
    if kind not in {"nncf_int8_weights", "nncf_int4_weights"}:
        return weights
    convolved = sum(_numbers(layer) for layer in layers if len(layer.shape) > 2)
    share = convolved / sum(map(_numbers, layers))
    return round(weights * (1 - share) + EXPANDED_BYTES * convolved)


def _laid_out_numbers(layers: Sequence[Layer], component: Component, card: ModelCard, choices: Choices) -> int:
    """Return how many numbers of a part are copied into another order: a convolution's, with channels last."""
    if choices["memory_format"] == "contiguous" or component.name not in {card.denoiser.name, "vae"}:
        return 0
    return sum(layer.count * math.prod(layer.shape) for layer in layers if len(layer.shape) == 4)


def _numbers(layer: Layer) -> int:
    return layer.count * layer.parameters


def _used_numbers(layers: Sequence[Layer], component: Component) -> int:
    """Return how many numbers of a part a call of the pipeline reads."""
    unused = ("encoder", "quant_conv") if component.name == "vae" else ()
    read = (layer for layer in layers if layer.kind != "Embedding" and layer.name.split(".")[0] not in unused)
    return sum(map(_numbers, read))


def _on_accelerator(shape: Shape, choices: Choices, computing: Mapping[str, int]) -> _Counted:
    """Return the phases where the pipeline has a memory of its own, which parts may visit one by one."""
    weights = weights_of(shape.layers, shape.card, choices)
    whole, offload = sum(weights.values()), str(choices["offload"])
    resident = {name: _visiting(name, size, shape, offload) for name, size in weights.items()}
    standing = whole if offload == "none" else 0
    phases = dict.fromkeys(PHASES, 0)
    for component in shape.card.components:
        if component.name in weights:
            phase = _phase_of(component, shape.card)
            taken = (standing or resident[component.name]) + computing.get(component.name, 0)
            phases[phase] = max(phases[phase], taken)
    streams = offload in STREAMS and offload != "group_leaf_low_ram"
    pinned = whole if streams else 0
    host = 0 if offload == "group_disk" else whole + pinned
    return _Counted({"load": standing or max(resident.values(), default=0), **phases}, host, pinned)


def _visiting(name: str, size: int, shape: Shape, offload: str) -> int:
    """Return what of a part is on the accelerator at once: all of it, a block, or its largest layer.

    With a stream the next one comes while one computes.
    """
    if offload in {"none", "model"}:
        return size
    layers = shape.layers[name]
    share = size / max(1, sum(map(_numbers, layers)))
    if GROUPS.get(offload, {}).get("offload_type") == "block_level":
        at_once = _block_numbers(layers)
    else:
        at_once = max(layer.parameters for layer in layers)
    return math.ceil(share * at_once * (2 if offload in STREAMS else 1))


def _block_numbers(layers: Sequence[Layer]) -> int:
    """Return the numbers of the largest block that repeats, and of all that is in none."""
    blocks: dict[str, float] = {}
    outside = 0
    for layer in layers:
        head, star, _ = layer.name.partition(".*")
        if star:
            blocks[head] = blocks.get(head, 0) + _numbers(layer)
        else:
            outside += _numbers(layer)
    counts = {head: min(layer.count for layer in layers if layer.name.partition(".*")[0] == head) for head in blocks}
    return round(outside + max((size / max(1, counts[head]) for head, size in blocks.items()), default=0))
