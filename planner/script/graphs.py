"""A pipeline whose parts are graphs for OpenVINO, as a script puts it together: the graphs lie in autotune's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...search.knobs.deepcache import INTERVALS
from ...search.knobs.openvino import shell_of
from ...search.knobs.openvino.parts import Graphed, parts_of
from ...search.knobs.threads import wanted
from .brought import DEEPCACHE, GRAPHS, SHELL, STAND_IN

if TYPE_CHECKING:
    from ...search.knobs import Bench, Choices
    from .draft import Draft


def write_graphs(draft: Draft, choices: Choices, bench: Bench) -> None:
    """Load shells in the place of the parts, and let graphs stand in for them. What fits no graph runs in torch."""
    draft.bring(GRAPHS, STAND_IN, SHELL)
    by_component: dict[str, list[Graphed]] = {}
    for each in parts_of(choices, bench):
        by_component.setdefault(each.part.component, []).append(each)
    for component in bench.card.components:
        if component.name in by_component:
            arguments = ", ".join(map(repr, shell_of(component, bench.card)))
            draft.loading.append(f"{component.name}=shell({arguments})")
    kind = bench.card.pipeline_class
    draft.before += [
        "def plain():  # for calls of another shape than the graphs were made for",
        f"    return {kind}.from_pretrained(",
        f"        {bench.card.folder!r}, dtype=torch.float32, use_safetensors=True, local_files_only=True",
        "    )",
    ]
    for name, graphs in by_component.items():
        _write_component(draft, name, graphs, choices, bench)


def _write_component(draft: Draft, name: str, graphs: list[Graphed], choices: Choices, bench: Bench) -> None:
    halves: dict[str, list[Graphed]] = {}
    for each in graphs:
        halves.setdefault(each.part.half, []).append(each)
    made = {half: _stand_in(name, of_half, choices, bench) for half, of_half in halves.items()}
    if "" in made:
        draft.after.append(f"pipe.{name} = {made['']}")
        return
    draft.bring(DEEPCACHE)
    draft.after += [
        f'denoiser = StandIn(pipe.{name}, "forward", [], lambda: plain().{name})',
        "DeepCache(",
        f"    {made['whole']},",
        f"    {made['shallow']},",
        f"    {INTERVALS[str(choices['feature_cache'])]},",
        ").install(denoiser)",
        f"pipe.{name} = denoiser",
    ]


def _stand_in(name: str, graphs: list[Graphed], choices: Choices, bench: Bench) -> str:
    """Return the text of what stands in for a component, or a half of it."""
    loaded = (
        f"StaticGraph(Path({str(each.folder(bench))!r}), {str(choices['precision'])!r}, {wanted(choices)})"
        for each in graphs
    )
    listed = ", ".join(f"ByRow({text})" if each.by_row else text for each, text in zip(graphs, loaded, strict=True))
    return f'StandIn(pipe.{name}, "{graphs[0].part.method}", [{listed}], lambda: plain().{name})'
