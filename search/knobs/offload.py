"""Offload: weights wait in RAM, or on disk, and visit the accelerator when they are needed."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ...probes.classes import abilities
from .knob import Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice
    from .knob import Bench

BLOCK: dict[str, Any] = {"offload_type": "block_level", "num_blocks_per_group": 1}
LEAF: dict[str, Any] = {"offload_type": "leaf_level"}

GROUPS: dict[str, dict[str, Any]] = {
    "group_block": BLOCK,
    "group_block_stream": {**BLOCK, "use_stream": True},
    "group_leaf": LEAF,
    "group_leaf_stream": {**LEAF, "use_stream": True},
    "group_leaf_record": {**LEAF, "use_stream": True, "record_stream": True},
    "group_leaf_low_ram": {**LEAF, "use_stream": True, "low_cpu_mem_usage": True},
    "group_disk": LEAF,
}
"""Groups of layers that move together: a block, or a layer; with a stream, the next one comes while one computes.

With a stream the RAM holds everything a second time, pinned, unless it is told to be sparing (low_ram).
"""

STREAMS = frozenset(name for name, how in GROUPS.items() if "use_stream" in how)
BY_LAYER = frozenset({"sequential", *GROUPS})
DISK = "group_disk"


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Offloading has a meaning only where there is a second memory to offload from, and some classes cannot do it."""
    if setting.device in {"cpu", "mps"}:
        return f"offload moves weights between RAM and an accelerator's own memory, which the {setting.device} has not"
    if choice in GROUPS:
        cannot = [each.class_name for each in setting.card.components if not abilities(each.class_name).groups]
        if cannot:
            return f"{' and '.join(cannot)} cannot be offloaded in groups, as diffusers says of the class"
    return None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Hook the pipeline's components so that they move by themselves.

    Groups without streams have been run with a CPU in place of the accelerator; nothing else has been run on the
    maintainers' machines yet.
    Source: https://huggingface.co/docs/diffusers/optimization/memory
    """
    choice = str(choices["offload"])
    if choice == "model":
        pipe.enable_model_cpu_offload(device=bench.device)
    elif choice == "sequential":
        pipe.enable_sequential_cpu_offload(device=bench.device)
    else:
        offload_groups(pipe, GROUPS[choice], bench.device, bench.artifacts if choice == DISK else None)


def offload_groups(pipe: Any, how: dict[str, Any], device: str, disk: Path | None) -> None:
    """Offload every component in groups; disk: below which folder their weights wait, None for RAM.

    diffusers names the files by what lies in a group, and takes a file that is there for its own: each component of
    each process has a folder by itself, or it would read another's weights.
    """
    import torch
    from diffusers.hooks import apply_group_offloading

    folder = _waiting_room(disk) if disk else None
    for name, component in pipe.components.items():
        if isinstance(component, torch.nn.Module):
            room = folder / name if folder and not _must_stay_in_ram(component) else None
            arguments = {
                "onload_device": torch.device(device),
                "offload_device": torch.device("cpu"),
                "offload_to_disk_path": str(room) if room else None,
                **_level(name, component, how),
            }
            if hasattr(component, "enable_group_offload"):
                component.enable_group_offload(**arguments)
            else:  # of transformers
                apply_group_offloading(component, **arguments)


def _level(name: str, component: Any, how: dict[str, Any]) -> dict[str, Any]:
    """Return how a component is offloaded: a VAE that does not say which of its parts are blocks, layer by layer.

    What is no block waits for the component's own `forward`, and pipelines call a VAE's `decode`: its weights would
    not come. Seen with AutoencoderDC.
    """
    if name != "vae" or getattr(component, "_group_offload_block_modules", None):
        return how
    return {option: value for option, value in (how | LEAF).items() if option != "num_blocks_per_group"}


def _must_stay_in_ram(component: Any) -> bool:
    """Return whether a component cannot wait on disk, where its tensors are empty.

    Two layers that share a weight, as T5's embeddings do, would have it written when it is empty already; and what a
    component has beside its layers, pipelines read by themselves, as LTX does the mean of its VAE's latents.
    Source: diffusers 0.42, hooks/group_offloading.py (`_offload_to_disk`); seen with T5 and with LTX.
    """
    tied = len(list(component.named_parameters(remove_duplicate=False))) > len(list(component.parameters()))
    return tied or bool(list(component.buffers(recurse=False)))


def _waiting_room(disk: Path) -> Path:
    """Return a new folder of this process; those of processes that have gone, as killed trials do, are removed."""
    rooms = disk / "offload"
    rooms.mkdir(mode=0o700, parents=True, exist_ok=True)
    for room in rooms.iterdir():
        owner = room.name.partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(room, ignore_errors=True)
    room = Path(tempfile.mkdtemp(dir=rooms, prefix=f"{os.getpid()}-"))
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    return room


OFFLOAD = Knob(
    name="offload",
    says="which parts wait in RAM (group_disk: on disk) until the accelerator needs them",
    choices=("none", "model", *GROUPS, "sequential"),
    default="none",
    source="https://huggingface.co/docs/diffusers/optimization/memory",
    refuses=refuses,
    apply=apply,
)
