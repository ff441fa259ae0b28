"""The tokenizer of `shapes`: CLIP's own kind, in which each word of a caption is one token."""

from __future__ import annotations

import json
from typing import Any

from .draw import BACKGROUNDS, CORNERS, SHAPES, SIZES

MAX_TOKENS = 24
PLACES = " ".join([*CORNERS, "left of", "above"]).split()
WORDS = sorted({"a", "an", "in", "the", "on", "background", *SHAPES, *SIZES, *BACKGROUNDS, *PLACES})


def tokenizer() -> Any:
    """Return a `transformers.CLIPTokenizer` that knows every byte, and the words of the captions whole."""
    from tokenizers.trainers import BpeTrainer
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    learner = CLIPTokenizer().backend_tokenizer
    trainer = BpeTrainer(
        vocab_size=2000,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    # every letter alone, so that any byte can also end a word
    learner.train_from_iterator([*WORDS, *letters], trainer)
    vocabulary = learner.get_vocab(with_added_tokens=False)
    merges = json.loads(learner.to_str())["model"]["merges"]
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary.setdefault(special, len(vocabulary))
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in merges], model_max_length=MAX_TOKENS)
