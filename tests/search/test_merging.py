"""Tokens that are merged by rows: the same as tomesd's, in operations that are fast under OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.search.assemble import assemble
from autotune.search.knobs.openvino.merging import matched, merged_by_rows
from autotune.search.knobs.openvino.run import GRAPH_FILE
from autotune.search.recipe import Recipe

from .small import write_small

if TYPE_CHECKING:
    from pathlib import Path

    from autotune.probes.machine import Machine

# torch and OpenVINO warn of each other's ways, which the processes of trials do not turn into errors
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@given(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9), st.data())
def test_it_is_what_tomesd_does(batch: int, w: int, h: int, data: st.DataObject) -> None:
    import torch
    from tomesd.merge import bipartite_soft_matching_random2d

    r = data.draw(st.integers(1, w * h))
    tokens = torch.randn(batch, w * h, 8, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    (merge, unmerge), (theirs, undone) = (
        found(tokens, w, h, 2, 2, r, no_rand=True) for found in (matched, bipartite_soft_matching_random2d)
    )
    values = torch.randn(batch, w * h, 5, generator=torch.Generator().manual_seed(7))
    assert merge(values).shape == theirs(values).shape
    torch.testing.assert_close(_sorted(merge(values)), _sorted(theirs(values)))
    torch.testing.assert_close(unmerge(merge(values)), undone(theirs(values)))


def _sorted(values: Any) -> Any:
    """Return each batch entry's rows in an order of their own: the order of what is merged is nobody's business."""
    import torch

    return torch.stack([entry[entry[:, 0].argsort()] for entry in values])


def test_tomesd_is_as_it_was_afterwards() -> None:
    from tomesd import merge

    original = merge.bipartite_soft_matching_random2d
    with pytest.raises(ZeroDivisionError), merged_by_rows():
        assert 1 / (merge.bipartite_soft_matching_random2d is not matched)
    assert merge.bipartite_soft_matching_random2d is original


@pytest.mark.parametrize("batch", [1, 2])
def test_a_graph_moves_whole_rows_and_its_image_is_that_of_torch(batch: int, tmp_path: Path, machine: Machine) -> None:
    import openvino

    small = write_small("sd", tmp_path, machine).with_workload(batch=batch)
    merged = Recipe(turned={"compile": "openvino", "tome_ratio": 0.5})
    image = small.image(merged, assemble(merged, small.bench))
    [file] = [each for each in small.bench.artifacts.rglob(GRAPH_FILE) if each.parent.name.startswith("unet")]
    operations = openvino.Core().read_model(file).get_ops()
    moved = [op for op in operations if op.get_type_name() in {"GatherElements", "ScatterElementsUpdate"}]
    assert {len(op.get_output_partial_shape(0)) for op in moved} == {2}, "one index a token, never one a channel"
    assert abs(image - small.image(Recipe(turned={"tome_ratio": 0.5}))).max() < 0.02
    assert abs(image - small.image(Recipe(turned={"compile": "openvino"}))).max() > 0
