"""The tokenizer of `shapes`: CLIP's own kind, in which each word of a caption is one token."""

from __future__ import annotations

from typing import Any

from . import SCORER

MAX_TOKENS = 24


def tokenizer() -> Any:
    """Return a `transformers.CLIPTokenizer` that knows every byte, and the words of the captions whole.

    It was learned once, by byte-pair encoding, and is kept with the weights: the learner numbers what is equally
    frequent in another order each time, and embeddings are of one order only.
    """
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(SCORER, local_files_only=True)
