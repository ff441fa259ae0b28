"""Train `shapes` from drawn images: `python -m autotune.shapes.train [vae|scorer|unet|export]`.

Four stages, each resumable (a checkpoint every few minutes): the autoencoder,
the CLIP scorer (whose text half is also the pipeline's text encoder), the UNet, and the export as
safetensors. Everything is seeded; a CPU with two cores needs about two hours.

The UNet first learns on images of half the side (a quarter of the cost), then, as SDXL did
(arXiv:2307.01952, section 2.5), on the full size, and there mostly on cuts around small things, whose outlines are
hardest. Its noise schedule ends in pure noise (arXiv:2305.08891), without which plain backgrounds come out grey.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from . import WEIGHTS
from .architecture import PREPROCESSOR, SCHEDULER, new_scorer, new_unet, new_vae, text_encoder_of
from .draw import BACKGROUNDS, COLOURS, CORNERS, PIXELS, SHAPES, SIZES, Scene, distractors, held_out
from .lessons import Course, cuts, drawings, latent_scale, latents, near, normalised, text_states, tokens
from .vocabulary import tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKPOINT_S = 180
NEGATIVES = 3  # wrong captions an image, each off in one attribute
ATTRIBUTES = (tuple(SIZES), tuple(COLOURS), SHAPES, ("", *CORNERS), tuple(BACKGROUNDS))


def main() -> None:
    """Run the stages named on the command line, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", default=list(STAGES), metavar="STAGE")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the steps to make (a small one to try the script)"
    )
    parser.add_argument("--images", type=int, default=12_000, help="drawings of each size to learn from")
    parser.add_argument("--checkpoints", type=Path, default=Path(__file__).parent / "checkpoints")
    parser.add_argument("--weights", type=Path, default=WEIGHTS.parent, help="where the export goes")
    options = parser.parse_args()
    options.checkpoints.mkdir(exist_ok=True, parents=True)
    course = Course(options.checkpoints, options.weights, options.images, options.scale)
    for name in options.stages:
        STAGES[name](course)


def train_vae(course: Course) -> None:
    """Train the autoencoder on 64x64 cuts of the drawings; it is convolutional, so any size fits after."""
    model = new_vae()
    images = drawings(course)[0]

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        del step
        batch = normalised(cuts(images, rng, count=32, side=64))
        posterior = model.encode(batch).latent_dist
        decoded = model.decode(posterior.sample()).sample.float()
        error = (decoded - batch).abs().mean() + 2 * functional.mse_loss(decoded, batch)
        return error + 1e-5 * posterior.kl().mean() / batch[0].numel() * 48

    run(course, "vae", model, loss, steps=course.steps(900), rate=2e-3)


def train_scorer(course: Course) -> None:
    """Train CLIP on batches with, beside their own captions, some that are wrong in one attribute.

    Linear heads that name each attribute from what the image half saw, dropped afterwards, teach it where to look
    in a fraction of the steps that the contrast alone takes.
    """
    clip = new_scorer()
    heads = torch.nn.ModuleList(torch.nn.Linear(160, len(values)) for values in ATTRIBUTES)
    model = torch.nn.ModuleDict({"clip": clip, "heads": heads})
    images, scenes = drawings(course)
    words = tokenizer()
    captions = [scene.caption for scene in scenes]
    wrong = [[caption for caption in distractors(scene) if not held_out(caption)] for scene in scenes]
    facts = torch.tensor([_attributes(scene) for scene in scenes])

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        del step
        chosen = list({captions[i]: i for i in rng.permutation(len(images))[:160]}.values())[:128]
        texts = [captions[i] for i in chosen]
        texts += [str(text) for i in chosen for text in rng.choice(wrong[i], NEGATIVES, replace=False)]
        seen = clip.vision_model(pixel_values=normalised(images[chosen])).pooler_output
        said = clip.get_text_features(**tokens(words, texts, shortest=True)).pooler_output
        named = [functional.cross_entropy(head(seen).float(), facts[chosen, i]) for i, head in enumerate(heads)]
        seen, said = (functional.normalize(f.float(), dim=-1) for f in (clip.visual_projection(seen), said))
        logits = clip.logit_scale.exp().clamp(max=30) * seen @ said.T
        target = torch.arange(len(chosen))
        contrast = functional.cross_entropy(logits, target)
        contrast = contrast + functional.cross_entropy(logits[:, : len(chosen)].T, target)
        return contrast / 2 + torch.stack(named).mean()

    run(course, "scorer", model, loss, steps=course.steps(1600), rate=1e-3)


def _attributes(scene: Scene) -> list[int]:
    """Return the scene as one number for each of `ATTRIBUTES`."""
    facts = (scene.size, scene.colour, scene.shape, scene.corner, scene.background)
    return [values.index(fact) for values, fact in zip(ATTRIBUTES, facts, strict=True)]


def train_unet(course: Course) -> None:
    """Train the denoiser on latents: first on half the side, then by turns on cuts and on the full one."""
    from diffusers import DDIMScheduler

    model = new_unet()
    scheduler = DDIMScheduler.from_config(SCHEDULER)
    states = text_states(course)
    full = latents(course, PIXELS)  # first, because the scale is taken from these
    half = latents(course, PIXELS // 2)
    cut = near(course, *full)
    first = course.steps(3200)

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        (values, owners), count = (half, 32) if step < first else (cut, 32) if step % 4 else (full, 16)
        chosen = rng.integers(len(values), size=count)
        latent = values[chosen]
        condition = states[torch.where(torch.rand(count) < 0.1, 0, owners[chosen])]
        noise = torch.randn_like(latent)
        steps = torch.randint(0, 1000, (count,))
        noisy = scheduler.add_noise(latent, noise, steps)
        guess = model(noisy, steps, condition).sample.float()
        return functional.mse_loss(guess, scheduler.get_velocity(latent, noise, steps))

    run(course, "unet", model, loss, steps=first + course.steps(4800), rate=6e-4, average=0.998)


def export(course: Course) -> None:
    """Write the pipeline and the scorer as safetensors in half precision: what is committed."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    scorer, vae = course.trained("scorer", new_scorer()), course.trained("vae", new_vae())
    vae.register_to_config(scaling_factor=latent_scale(course))
    unet = course.trained("unet", new_unet(), average=True)
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder_of(scorer),
        tokenizer=tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler.from_config(SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )
    pipe.to(torch.float16).save_pretrained(course.weights / "pipeline", safe_serialization=True)
    scorer.half().save_pretrained(course.weights / "scorer")
    tokenizer().save_pretrained(course.weights / "scorer")
    (course.weights / "scorer" / "preprocessor_config.json").write_text(PREPROCESSOR)


STAGES: dict[str, Callable[[Course], None]] = {
    "vae": train_vae,
    "scorer": train_scorer,
    "unet": train_unet,
    "export": export,
}


def run(  # noqa: PLR0913 - the one loop of all three stages
    course: Course,
    name: str,
    model: Any,
    loss: Callable[[int, np.random.Generator], torch.Tensor],
    steps: int,
    rate: float,
    average: float = 0.0,
) -> None:
    """Train `model` from its last checkpoint to `steps`; `average` keeps a moving mean of the weights."""
    torch.manual_seed(0)
    model.train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.01)
    state: dict[str, Any] = {"step": 0, "average": copy.deepcopy(model.state_dict())}
    file = course.folder / f"{name}.pt"
    if file.exists():
        state = torch.load(file, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    saved, started, recent = time.monotonic(), time.monotonic(), 0.0
    for step in range(state["step"], steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
        torch.manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(step, np.random.default_rng((17, step)))
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        mean = min(average, (step + 1) / (step + 10)) if average else 0.0
        _blend(state["average"], model.state_dict(), mean)
        recent = value.item() if not recent else 0.98 * recent + 0.02 * value.item()
        if step % 50 == 49 or step + 1 == steps:
            print(
                f"{name}: step {step + 1} of {steps}, loss {recent:.4f}, {time.monotonic() - started:.0f} s",
                file=sys.stderr,
            )
        if step + 1 == steps or time.monotonic() - saved > CHECKPOINT_S:
            state |= {"step": step + 1, "model": model.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save(state, file.with_suffix(".new"))
            file.with_suffix(".new").replace(file)
            saved = time.monotonic()


def _blend(average: dict[str, torch.Tensor], current: dict[str, torch.Tensor], keep: float) -> None:
    with torch.no_grad():
        for key, value in current.items():
            if value.is_floating_point():
                average[key].lerp_(value, 1 - keep)


if __name__ == "__main__":
    main()
