"""Options that several commands have, and what they stand for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..request import Request

Json = Annotated[
    bool, typer.Option("--json", help="Machine-readable: JSON on standard output, and nothing else there.")
]


Budget = Annotated[str, typer.Option(help="At most this much: 90s, 20m, 1h or 40trials [default: the model's own].")]
Lora = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH[:SCALE]", help="A LoRA adapter that the model is used with: a safetensors file. Can be repeated."
    ),
]
MachineFile = Annotated[
    Path | None,
    typer.Option("--machine", metavar="FILE", help="Ask for the machine that `autotune probe --json` described there."),
]
Distilled = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATH",
        help="Where a distilled variant lies: tiny_vae, small_denoiser, lcm_lora. Can be repeated.",
    ),
]


class Small(StrEnum):
    """What is to be small."""

    latency = "latency"
    throughput = "throughput"
    energy = "energy"
    total = "total"


Goal = Annotated[
    Small | None,
    typer.Option(
        "--objective",
        help="What is to be best: the latency of a call, the throughput of images, the energy of a call, or the total "
        "time for --images with loading and compiling [default: latency].",
    ),
]
Images = Annotated[int | None, typer.Option(min=1, help="With --objective total: how many images.")]


Also = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FOLDER",
        help="Another model that looks at the images, whose figures are reported: LPIPS (which then decides on "
        "--fidelity), an encoder of images such as DINO, a CLIPModel such as PickScore. Can be repeated.",
    ),
]


class Closeness(StrEnum):
    """How close images must be to the baseline's own."""

    near = "near"
    close = "close"
    similar = "similar"


Fidelity = Annotated[
    Closeness | None,
    typer.Option("--fidelity", help="How close images must be to the baseline's own [default: reported only]."),
]


class Whence(StrEnum):
    """Where weights come from that are not here, or are not to be used."""

    hub = "hub"
    random = "random"


Weights = Annotated[
    Whence | None,
    typer.Option(help="hub: fetched first; random: made up, so that only latency and memory are tuned."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Try also what cannot fit into memory, as far as can be predicted.")
]
Size = Annotated[str, typer.Option(help="Size of the image, such as 1024x1024.")]
Steps = Annotated[int | None, typer.Option(help="Denoising steps.")]
Batch = Annotated[int | None, typer.Option(help="Images a call, or videos.")]
Frames = Annotated[int | None, typer.Option(help="Frames of a video.")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale.")]
Prompts = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Prompts, one a line, in the place of the model's own; # begins a comment."),
]


def workload_of(
    size: str, steps: int | None, batch: int | None, frames: int | None, guidance: float | None
) -> dict[str, Any]:
    """Return what was said of a call by the names of its workload, None for what was not."""
    from .amounts import parse_size

    width, height = parse_size(size) if size else (None, None)
    return {
        "width": width,
        "height": height,
        "steps": steps,
        "batch": batch,
        "frames": frames,
        "guidance": guidance,
    }


def request_of(  # noqa: PLR0913 - all that is said of calls
    model: str,
    size: str,
    steps: int | None,
    batch: int | None,
    frames: int | None,
    guidance: float | None,
    prompts: Path | None,
) -> Request:
    """Return what is asked for, as far as it is about a model and a call of it. Raises UsageError."""
    from ..request import Request

    return Request(model=model, prompts=prompts, **workload_of(size, steps, batch, frames, guidance))
