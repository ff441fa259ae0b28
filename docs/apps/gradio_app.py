"""A page that paints: `pip install gradio`, then `MODEL=shapes python gradio_app.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import autotune


def painter(model: str) -> Callable[[str, float], tuple[Any, str]]:
    """Return what makes an image of a prompt and a seed, and says by which plan."""
    pipe = autotune.load(model)

    def paint(prompt: str, seed: float) -> tuple[Any, str]:
        import torch

        image = pipe(prompt, generator=torch.Generator().manual_seed(int(seed))).images[0]
        return image, pipe.answer.reason if pipe.answer else "There is no plan yet."

    return paint


def main() -> None:
    """Serve the page on this machine."""
    import gradio

    gradio.Interface(
        painter(os.environ.get("MODEL", "shapes")),
        inputs=[gradio.Textbox(label="Prompt"), gradio.Number(value=0, precision=0, label="Seed")],
        outputs=[gradio.Image(label="Image"), gradio.Textbox(label="Plan")],
        concurrency_limit=1,  # a pipeline makes one call at a time
    ).launch(server_name="127.0.0.1")


if __name__ == "__main__":
    main()
