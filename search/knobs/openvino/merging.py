"""Token merging in operations that OpenVINO runs fast: whole rows are moved and multiplied, nothing is scattered.

tomesd reads and writes element by element, each with an index of its own. OpenVINO's CPU plugin has only its reference
code for some of that, and merging takes as long as the attention that it shortens (SD 1.5, 4096 tokens, int8).
docs/adr/0018-tokens-are-merged-by-rows.md
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def merged_by_rows() -> Iterator[None]:
    """Let tomesd match and merge in these operations, where it merges at all, while something is traced."""
    try:
        from tomesd import merge
    except ModuleNotFoundError:  # then no pipeline has its tokens merged
        yield
        return
    original = merge.bipartite_soft_matching_random2d
    merge.bipartite_soft_matching_random2d = matched
    try:
        yield
    finally:
        merge.bipartite_soft_matching_random2d = original


def matched(  # noqa: PLR0913 - as tomesd calls it
    tokens: Any, w: int, h: int, sx: int, sy: int, r: int, **randomness: object
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return what merges `r` of the tokens into others, and what undoes it; tokens: [batch, h * w, channels].

    Of each `sx` by `sy` tokens the first takes in others, and the `r` of those others that are most like one of these
    are merged. That is what tomesd does without randomness, up to rounding.
    Source: tomesd 0.1.3, `merge.py`; Bolya & Hoffman 2023, arXiv:2303.17604.
    """
    import torch

    del randomness
    grid = torch.arange(h * w).reshape(h, w)
    takes_in = torch.zeros(h, w, dtype=torch.bool)
    takes_in[: h // sy * sy : sy, : w // sx * sx : sx] = True
    takers, givers = grid[takes_in], grid[~takes_in]
    back = torch.cat([givers, takers]).argsort()
    r = min(r, len(givers))

    like = tokens / tokens.norm(dim=-1, keepdim=True)
    best, taker = (like[:, givers] @ like[:, takers].transpose(-1, -2)).max(dim=-1)
    order = best.topk(len(givers)).indices  # argsort would have a shape that OpenVINO knows only when it runs
    given, kept = givers[order[:, :r]], givers[order[:, r:]]
    into = taker.gather(-1, order[:, :r])
    gives = (into[:, None, :] == torch.arange(len(takers))[:, None]).to(tokens.dtype)
    share = 1 / (1 + gives.sum(dim=-1, keepdim=True))

    alone = len(givers) - r
    found_at = torch.cat([into + alone, torch.arange(alone).expand(len(tokens), -1)], dim=-1)
    found_at = found_at.gather(-1, order.topk(len(givers), largest=False).indices)
    takers_at = (torch.arange(len(takers)) + alone).expand(len(tokens), -1)
    whole = torch.cat([found_at, takers_at], dim=-1)[:, back]

    def merge(x: Any) -> Any:
        return torch.cat([_rows(x, kept), (x[:, takers] + gives @ _rows(x, given)) * share], dim=1)

    def unmerge(x: Any) -> Any:
        return _rows(x, whole)

    return merge, unmerge


def _rows(x: Any, index: Any) -> Any:
    """Return rows of each batch entry; x: [batch, rows, channels], index: [batch, wanted]."""
    import torch

    batch, rows, channels = x.shape
    first = torch.arange(batch)[:, None] * rows
    return x.reshape(batch * rows, channels).index_select(0, (index + first).reshape(-1)).reshape(batch, -1, channels)
