"""What a model takes while it computes is counted without computing, and told for every size of call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import ModelError
from autotune.planner.catalogue import find_model
from autotune.planner.catalogue.configurations import shipped_demands
from autotune.planner.catalogue.entries import shipped
from autotune.probes.model import read_model
from autotune.search import demand
from autotune.search.demand import Demand, demands_of, kept_demands, parsed, rehearsed, said
from autotune.search.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .small import Small

CALL = Workload(width=512, height=512, steps=20, guidance=4)
VIDEO = CALL.model_copy(update={"frames": 17})
UNREHEARSED = {"flux2", "hunyuan-image", "kandinsky"}
"""Models whose pipelines want what is not there without weights: processors of images."""


def counted(calls: list[Workload], terms: tuple[int, int, int, int]) -> dict[Any, Any]:
    """Return what a rehearsal would count of a part that takes so much."""

    def taken(call: Workload) -> int:
        pixels = call.width * call.height
        return terms[0] + call.batch * (terms[1] + pixels * (terms[2] + terms[3] * call.frames))

    return {"bf16": [{"vae": {"live_bytes": taken(call), "scratch_bytes": 2 * taken(call)}} for call in calls]}


@given(
    terms=st.tuples(*[st.integers(0, 4000)] * 4),
    rows=st.integers(1, 8),
    side=st.sampled_from([256, 768, 2048]),
    is_video=st.booleans(),
)
def test_a_few_rehearsals_tell_every_size(
    terms: tuple[int, int, int, int], rows: int, side: int, *, is_video: bool
) -> None:
    asked = VIDEO if is_video else CALL
    terms = terms if is_video else (*terms[:3], 0)
    [found] = demand._fitted(counted(demand._calls(asked), terms), demand._calls(asked))
    call = asked.model_copy(update={"batch": rows, "width": side, "height": side})
    [truth] = counted([call], terms)["bf16"]
    assert found.live_bytes(call) == pytest.approx(truth["vae"]["live_bytes"], rel=1e-3, abs=64)
    assert found.scratch_bytes(call) == pytest.approx(truth["vae"]["scratch_bytes"], rel=1e-3, abs=64)


@given(st.lists(st.tuples(*[st.floats(-1e9, 1e12)] * 4), max_size=3))
def test_what_is_kept_is_what_was_found(terms: list[tuple[float, float, float, float]]) -> None:
    found = tuple(
        Demand(component=f"part {n}", precision="fp32", live=each, scratch=each) for n, each in enumerate(terms)
    )
    assert parsed(json.loads(json.dumps(said(found)))) == found


def test_only_tensors_that_are_held_are_counted() -> None:
    import torch

    from autotune.search.rehearsal import _counting

    with torch.device("meta"):
        part = torch.nn.Sequential(*(torch.nn.Linear(100, 100, bias=False) for _ in range(5)))
        given_ = torch.empty(50, 100)
    count = _counting()(part)
    with torch.no_grad(), count:
        part(given_)
    assert count.most["live_bytes"] == 2 * 50 * 100 * 4  # what a layer is given and what it makes; weights are not


def test_a_convolution_has_its_copies_beside_it() -> None:
    import torch

    from autotune.search.rehearsal import _counting

    with torch.device("meta"):
        part = torch.nn.Conv2d(8, 16, 1, bias=False)
        given_ = torch.empty(1, 8, 32, 32)
    count = _counting()(part)
    with torch.no_grad(), count:
        part(given_)
    made, weight = 16 * 32 * 32 * 4, 16 * 8 * 4
    assert count.most == {"live_bytes": made, "scratch_bytes": made + given_.numel() * 4 + weight + made}


def test_attention_makes_no_matrix_of_all_tokens() -> None:
    import torch

    from autotune.search.rehearsal import _counting, _without_attention_matrix

    tokens = torch.empty(1, 2, 4096, 64, device="meta")
    count = _counting()(torch.nn.Identity())
    with torch.no_grad(), _without_attention_matrix()(), count:
        made = torch.nn.functional.scaled_dot_product_attention(tokens, key=tokens, value=tokens)
    assert (made.shape, made.stride()[2]) == (tokens.shape, 2 * 64)
    assert count.most["live_bytes"] == tokens.numel() * 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # diffusers about a scheduler's defaults
@pytest.mark.parametrize("name", ["sd", "flux", "wan"])
def test_a_small_pipeline_is_rehearsed_once(
    name: str, small: Callable[[str], Small], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = small(name).bench
    found = demands_of(bench.card, bench.workload, tmp_path)
    assert {each.component for each in found} == {each.name for each in bench.card.components if each.parameters}
    by_part = {(each.component, each.precision): each for each in found}
    for (component, precision), each in by_part.items():
        assert 0 < each.live_bytes(bench.workload) <= each.scratch_bytes(bench.workload)
        if precision == "bf16":
            assert each.live_bytes(bench.workload) < by_part[component, "fp32"].live_bytes(bench.workload)

    monkeypatch.setattr(demand, "rehearsed", None)
    assert (
        demands_of(bench.card, bench.workload, tmp_path) == found == kept_demands(bench.card, bench.workload, tmp_path)
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as above
def test_what_cannot_be_rehearsed_is_said_in_a_sentence(small: Callable[[str], Small], tmp_path: Path) -> None:
    card = small("sd").bench.card
    with pytest.raises(ModelError, match="takes while it computes cannot be found out"):
        demands_of(card.model_copy(update={"folder": str(tmp_path)}), CALL, tmp_path / "cache")


def test_every_model_of_the_catalogue_ships_what_it_takes() -> None:
    missing = {name for name in shipped() if not shipped_demands(find_model(name, "none").card)}
    assert missing == UNREHEARSED


@pytest.mark.slow
def test_what_ships_is_what_a_rehearsal_finds() -> None:
    model = find_model("sd15", "none")
    found, shipped = rehearsed(model.card, model.workload), shipped_demands(model.card)
    assert [(each.component, each.precision) for each in found] == [
        (each.component, each.precision) for each in shipped
    ]
    for one, other in zip(found, shipped, strict=True):  # another processor solves for the terms with other roundings
        assert one.live == pytest.approx(other.live, rel=1e-4)
        assert one.scratch == pytest.approx(other.scratch, rel=1e-4)


def test_a_model_that_is_not_made_of_what_ships_has_none(tmp_path: Path) -> None:
    import shutil

    from autotune import shapes

    folder = tmp_path / "shapes"
    shutil.copytree(shapes.WEIGHTS, folder)
    assert shipped_demands(read_model(folder, "shapes")) == ()
