"""Images from the command line: `python diffusers_script.py "a small green star" [MODEL]`."""

from __future__ import annotations

import sys

import autotune


def main(prompt: str, model: str = "shapes") -> None:
    """Load the model as its plan says, and save what it paints."""
    pipe = autotune.load(model)
    if pipe.answer:
        print(pipe.answer.reason, file=sys.stderr)
    for number, image in enumerate(pipe(prompt).images):
        image.save(f"image-{number}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
