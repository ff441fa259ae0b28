"""The small text-to-image model that ships with the project, so that everything runs for real offline.

`WEIGHTS` is an ordinary diffusers folder (a `StableDiffusionPipeline`); `SCORER` is the CLIP model
that judges its images. Both are made by `python -m autotune.shapes.train`, from drawn images alone.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights" / "pipeline"
SCORER = Path(__file__).parent / "weights" / "scorer"
