"""quanto: the denoiser's linear layers with weights in int8 or fp8.

diffusers calls it deprecated and will drop it in 1.0; it loads with torch 2.13 and gives images. Nothing of it is
newer than 2025, so it is an extra of its own. Its int4 is not here: the first call compiles a C++ extension into the
package's own folder, and where that was once interrupted, every later call waits for its lock for ever.
Source: diffusers 0.42, `quantizers/quanto`; optimum-quanto 0.2.7, `library/extensions/extension.py`.
"""

from __future__ import annotations

import warnings
from typing import Any

KINDS = {"quanto_int8": "int8", "quanto_fp8": "float8"}
"""What quanto calls each kind."""


def config(kind: str) -> Any:
    """Return the quantization of a component of diffusers as it loads."""
    from diffusers import QuantoConfig

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*QuantoConfig.*", category=FutureWarning)  # said above
        return QuantoConfig(weights_dtype=KINDS[kind])
