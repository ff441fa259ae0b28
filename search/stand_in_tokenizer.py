"""A tokenizer for a folder that has none: as many tokens as text has, with ids that the text encoder knows.

Source: transformers 5.23, `PreTrainedTokenizerFast`; tokenizers 0.23.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..probes.model import Component, ModelCard

WORDS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
"""Files that a tokenizer's words lie in; without any of them, transformers makes one that has none."""

UNKNOWN, BEGIN, END, PAD, TEXT = "<unk>", "<bos>", "<eos>", "<pad>", "$A"
LETTERS = "etaoinsrhldcumfpgwybvkxjqz0123456789.,!?'-()"
PIECE = r"<[^<>\s]{1,30}>|\p{L}{1,5}|\p{N}|[^\s\p{L}\p{N}]"
"""What is one token: a special one, up to five letters, a digit, a sign. English has four to five letters a token."""

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
LEGACY_EOS = 2  # what CLIP's first configurations say, though the token is the last one of the vocabulary
MAX_TOKENS = 512


def has_words(card: ModelCard, component: Component) -> bool:
    """Return whether the words of a tokenizer are in the model's folder."""
    return any((Path(card.folder) / component.name / file).is_file() for file in WORDS)


def stand_in_tokenizer(card: ModelCard, component: Component) -> Any:
    """Return a tokenizer that is called as the real one is, for the text encoder that goes with it.

    Its longest text and the side that it pads are those of `tokenizer_config.json`, where that is there. A token's id
    is that of its first letter.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    encoder = _config(card, component.name.replace("tokenizer", "text_encoder"))
    settings = _json(Path(card.folder) / component.name / "tokenizer_config.json")
    special = _special(encoder, component.class_name)
    pad = next(token for token, number in special.items() if number == special[PAD])
    backend = Tokenizer(models.WordLevel(_vocabulary(special, encoder), unk_token=UNKNOWN))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(PIECE), "isolated"),
            pre_tokenizers.Split(Regex("(?<=.)."), "removed"),  # all of a token but its first letter
        ]
    )
    around = _around(component.class_name)
    used = [(token, special[token]) for token in around if token in special]
    backend.post_processor = processors.TemplateProcessing(single=" ".join(around), special_tokens=used)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=pad,  # which often is the end of the text, and one id has one token
        model_max_length=_longest(settings, encoder),
        padding_side=settings.get("padding_side", "right"),
        chat_template=settings.get("chat_template", TEMPLATE),
    )


def _special(encoder: dict[str, Any], class_name: str) -> dict[str, int]:
    """Return the ids of the tokens that are no text, as the text encoder's configuration has them.

    Where its end of text is that of CLIP's first configurations, the encoder takes the largest id of all for it.
    Source: transformers 5.23, `models/clip/modeling_clip.py` (CLIPTextTransformer.forward).
    """
    size = encoder.get("vocab_size", 1000)
    eos, bos, pad = (_one(encoder.get(f"{name}_token_id"), size) for name in ("eos", "bos", "pad"))
    if "CLIP" in class_name and eos in {None, LEGACY_EOS}:
        eos, bos = size - 1, size - 2
    eos = size - 1 if eos is None else eos
    bos = (eos - 1) % size if bos in {None, eos} else bos
    pad = bos if pad is None else pad
    return {END: eos, BEGIN: bos, PAD: pad}


def _one(said: int | list[int] | None, size: int) -> int | None:
    """Return the id that a configuration says, the first of several; None where it is none of the vocabulary."""
    said = said[0] if isinstance(said, list) else said
    return said if said is not None and 0 <= said < size else None


def _vocabulary(special: dict[str, int], encoder: dict[str, Any]) -> dict[str, int]:
    """Return the ids of tokens: as many letters as the text encoder has room for, the frequent ones first."""
    free = (number for number in range(encoder.get("vocab_size", 1000)) if number not in special.values())
    named = {number: token for token, number in reversed(special.items())}
    return {token: number for number, token in named.items()} | dict(zip((UNKNOWN, *LETTERS), free, strict=False))


def _around(class_name: str) -> tuple[str, ...]:
    """Return what stands around a text, `$A`, for that kind of tokenizer."""
    if "CLIP" in class_name:
        return BEGIN, TEXT, END
    if "T5" in class_name:
        return TEXT, END
    return (BEGIN, TEXT) if "Gemma" in class_name or "Llama" in class_name else (TEXT,)


def _longest(settings: dict[str, Any], encoder: dict[str, Any]) -> int:
    """Return how many tokens a text may have: pipelines of CLIP ask for just so many."""
    said = settings.get("model_max_length")
    if isinstance(said, int) and said < 10**6:  # a tokenizer without a limit says 10**30
        return said
    return int(encoder.get("max_position_embeddings", MAX_TOKENS))


def _config(card: ModelCard, name: str) -> dict[str, Any]:
    """Return the configuration of a text encoder, or of that part of it which reads text."""
    config = _json(Path(card.folder) / name / "config.json")
    return {**config, **config.get("text_config", {})}


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content if isinstance(content, dict) else {}
