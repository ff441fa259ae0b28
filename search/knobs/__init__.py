"""All knobs, in the order in which they are turned on a pipeline."""

from __future__ import annotations

from .compile import COMPILE
from .knob import Bench, Choices, Knob, Setting
from .offload import OFFLOAD
from .precision import PRECISION
from .quantization import QUANTIZATION
from .tome import TOME_RATIO

KNOBS: tuple[Knob, ...] = (PRECISION, QUANTIZATION, TOME_RATIO, OFFLOAD, COMPILE)

__all__ = ["KNOBS", "Bench", "Choices", "Knob", "Setting"]
