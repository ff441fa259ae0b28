"""The parts of a script, as knobs add to them, and how they are put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .brought import Brought

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...search.knobs import Bench, Choices

BEGIN_ANEW = """
wanted = {wanted!r}  # read when a program begins
if not wanted.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {{**os.environ, **wanted}})
"""
THE_PLAN = "# The plan."


@dataclass
class Draft:
    """The parts of a script. Each text is a line, or an argument; `brought` is code of autotune."""

    imports: set[str] = field(default_factory=lambda: {"import torch"})
    brought: dict[Brought, None] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    loading: list[str] = field(default_factory=list)
    quantized: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    calling: list[str] = field(default_factory=list)

    def bring(self, *brought: Brought) -> None:
        """Take code of autotune along."""
        for each in brought:
            self.brought[each] = None
            self.imports |= {*each.imports}


def text_of(draft: Draft, choices: Choices, bench: Bench, environment: Mapping[str, str], title: str) -> str:
    """Return the whole script."""
    return "\n".join([*_head(draft, environment, title), *_body(draft, choices, bench), *_saving(bench)]) + "\n"


def _head(draft: Draft, environment: Mapping[str, str], title: str) -> Iterator[str]:
    """Yield all that comes before the plan: with an environment, first a beginning anew in it."""
    yield f'"""{title}"""'
    if draft.brought:
        yield "from __future__ import annotations"
        yield ""
    if environment:
        yield from ("import os", "import sys", *BEGIN_ANEW.format(wanted=dict(environment)).splitlines())
    imports = {"import sys", *draft.imports} - ({"import os", "import sys"} if environment else set())
    yield from sorted(imports, key=lambda line: (line.startswith("from"), line))
    yield ""
    if draft.brought:
        yield "# From here on code of autotune (Apache-2.0), as it is there; the plan follows below."
        for brought in draft.brought:
            yield from ("", "", *brought.code.splitlines())
        yield from ("", "", THE_PLAN)


def _body(draft: Draft, choices: Choices, bench: Bench) -> Iterator[str]:
    kind, batch = bench.card.pipeline_class, bench.workload.batch
    loading = [*draft.loading, "use_safetensors=True", "local_files_only=True"]
    if draft.quantized:
        mapping = ", ".join(draft.quantized)
        loading.append(f"quantization_config=PipelineQuantizationConfig(quant_mapping={{{mapping}}})")
    yield 'prompt = sys.argv[1] if len(sys.argv) > 1 else "a large red circle on a blue background"'
    yield from draft.before
    yield f"pipe = {kind}.from_pretrained("
    yield f"    {bench.card.folder!r},"
    yield from (f"    {argument}," for argument in loading)
    yield ")"
    if bench.device != "cpu" and choices["offload"] == "none":
        yield f'pipe.to("{bench.device}")'
    yield from draft.after
    yield "result = pipe("
    yield f"    prompt={f'[prompt] * {batch}' if batch > 1 else 'prompt'},"
    yield "    generator=torch.Generator().manual_seed(0),"
    yield from (f"    {argument}," for argument in draft.calling)
    yield ")"


def _saving(bench: Bench) -> list[str]:
    if bench.workload.frames > 1:
        return [
            "from diffusers.utils import export_to_video",
            "",
            "# takes imageio and imageio-ffmpeg",
            'export_to_video(result.frames[0], "video.mp4")',
        ]
    return [
        "for number, image in enumerate(result.images):",
        '    image.save(f"image-{number}.png")',
    ]
