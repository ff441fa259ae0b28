"""Train `shapes` from drawn images: `python -m autotune.shapes.train [vae|scorer|unet|export]`.

Four stages, each resumable (a checkpoint every few minutes under shapes/checkpoints/): the autoencoder,
the CLIP scorer (whose text half is also the pipeline's text encoder), the UNet, and the export as
safetensors. Everything is seeded; a CPU with two cores needs about an hour and a half.

The UNet first learns on images of half the side (a quarter of the cost), then on the full size, as SDXL
did (arXiv:2307.01952, section 2.5). Its noise schedule ends in pure noise (arXiv:2305.08891), without
which plain backgrounds come out grey.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from . import SCORER, WEIGHTS
from .draw import (
    BACKGROUNDS,
    COLOURS,
    CORNERS,
    PIXELS,
    SHAPES,
    SIZES,
    Scene,
    distractors,
    draw,
    held_out,
    random_scene,
)
from .vocabulary import MAX_TOKENS, tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKPOINTS = Path(__file__).parent / "checkpoints"
IMAGES = 12_000
CHECKPOINT_S = 180
NEGATIVES = 3  # wrong captions an image, each off in one attribute
MEAN = STD = 0.5


def main() -> None:
    """Run the stages named on the command line, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", default=list(STAGES), metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the steps to make (a small one to try the script)"
    )
    options = parser.parse_args()
    CHECKPOINTS.mkdir(exist_ok=True)
    for name in options.stages:
        STAGES[name](options.scale)


def train_vae(scale: float) -> None:
    """Train the autoencoder on 64x64 cuts of the drawings; it is convolutional, so any size fits after."""
    model = new_vae()
    images = drawings()[0]

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        del step
        batch = normalised(_cuts(images, rng, count=32, side=64))
        posterior = model.encode(batch).latent_dist
        decoded = model.decode(posterior.sample()).sample.float()
        error = (decoded - batch).abs().mean() + 2 * functional.mse_loss(decoded, batch)
        return error + 1e-5 * posterior.kl().mean() / batch[0].numel() * 48

    run("vae", model, loss, steps=int(900 * scale), rate=2e-3)


def train_scorer(scale: float) -> None:
    """Train CLIP on batches with, beside their own captions, some that are wrong in one attribute.

    Linear heads that name each attribute from what the image half saw, dropped afterwards, teach it where to look
    in a fraction of the steps that the contrast alone takes.
    """
    clip = new_scorer()
    heads = torch.nn.ModuleList(torch.nn.Linear(160, len(values)) for values in ATTRIBUTES)
    model = torch.nn.ModuleDict({"clip": clip, "heads": heads})
    images, scenes = drawings()
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

    run("scorer", model, loss, steps=int(1600 * scale), rate=1e-3)


def _attributes(scene: Scene) -> list[int]:
    """Return the scene as one number for each of `ATTRIBUTES`."""
    facts = (scene.size, scene.colour, scene.shape, scene.corner, scene.background)
    return [values.index(fact) for values, fact in zip(ATTRIBUTES, facts, strict=True)]


def train_unet(scale: float) -> None:
    """Train the denoiser on latents: a first stage on half the side, a second on the full one."""
    from diffusers import DDIMScheduler

    model = new_unet()
    scheduler = DDIMScheduler.from_config(SCHEDULER)
    states = text_states()
    full = latents(PIXELS)  # first, because the scale is taken from these
    half = latents(PIXELS // 2)
    first = int(2800 * scale)

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        (values, owners), count = (half, 32) if step < first else (full, 16)
        chosen = rng.integers(len(values), size=count)
        latent = values[chosen]
        condition = states[torch.where(torch.rand(count) < 0.1, 0, owners[chosen])]
        noise = torch.randn_like(latent)
        steps = torch.randint(0, 1000, (count,))
        noisy = scheduler.add_noise(latent, noise, steps)
        guess = model(noisy, steps, condition).sample.float()
        return functional.mse_loss(guess, scheduler.get_velocity(latent, noise, steps))

    run("unet", model, loss, steps=first + int(1000 * scale), rate=6e-4, average=0.998)


def export(scale: float) -> None:
    """Write the pipeline and the scorer as safetensors in half precision: what is committed."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    del scale
    scorer, vae = trained("scorer", new_scorer()), trained("vae", new_vae())
    vae.register_to_config(scaling_factor=latent_scale())
    unet = trained("unet", new_unet(), average=True)
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
    pipe.to(torch.float16).save_pretrained(WEIGHTS, safe_serialization=True)
    scorer.half().save_pretrained(SCORER)
    tokenizer().save_pretrained(SCORER)
    (SCORER / "preprocessor_config.json").write_text(PREPROCESSOR)


STAGES: dict[str, Callable[[float], None]] = {
    "vae": train_vae,
    "scorer": train_scorer,
    "unet": train_unet,
    "export": export,
}

ATTRIBUTES = (tuple(SIZES), tuple(COLOURS), SHAPES, ("", *CORNERS), tuple(BACKGROUNDS))

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}
PREPROCESSOR = """{
  "crop_size": {"height": 128, "width": 128},
  "image_mean": [0.5, 0.5, 0.5],
  "image_std": [0.5, 0.5, 0.5],
  "resample": 3,
  "size": {"shortest_edge": 128}
}
"""


def new_vae() -> Any:
    """Return the untrained autoencoder: 128x128x3 to 32x32x4 and back."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(24, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=PIXELS,
        mid_block_add_attention=False,
    )


def new_unet() -> Any:
    """Return the untrained denoiser: self- and cross-attention over 1024 and 256 tokens."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=32,
        layers_per_block=1,
        block_out_channels=(48, 96, 160),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=(1, 2, 4),
        norm_num_groups=16,
    )


def new_scorer() -> Any:
    """Return the untrained CLIP: text 3 layers of 128, vision 4 layers of 160 over patches of 16."""
    from transformers import CLIPConfig, CLIPModel

    words = tokenizer()
    text = {
        "vocab_size": len(words),
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_TOKENS,
        "projection_dim": 128,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    vision = {
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "image_size": PIXELS,
        "patch_size": 16,
        "projection_dim": 128,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))
    # ten times what CLIP starts with: on plain grounds a patch says little but where it is
    torch.nn.init.normal_(model.vision_model.embeddings.position_embedding.weight, std=0.2)
    return model


def text_encoder_of(scorer: Any) -> Any:
    """Return the scorer's text half as the `CLIPTextModel` that a pipeline holds."""
    from transformers import CLIPTextModel

    encoder = CLIPTextModel(scorer.config.text_config)
    encoder.load_state_dict(scorer.text_model.state_dict())
    return encoder.eval()


def run(  # noqa: PLR0913 - the one loop of all three stages
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
    file = CHECKPOINTS / f"{name}.pt"
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


def trained(name: str, model: Any, *, average: bool = False) -> Any:
    """Return `model` with the weights of its last checkpoint, ready to use."""
    weights = torch.load(CHECKPOINTS / f"{name}.pt", weights_only=True)["average" if average else "model"]
    if name == "scorer":
        weights = {key.removeprefix("clip."): value for key, value in weights.items() if key.startswith("clip.")}
    model.load_state_dict(weights)
    return model.eval()


def drawings(pixels: int = PIXELS, count: int = IMAGES) -> tuple[np.ndarray, list[Scene]]:
    """Return the training images, uint8 of shape (count, pixels, pixels, 3), and their scenes; none held out."""
    scenes = list(_training_scenes(count, seed=pixels))
    return np.stack([draw(scene, Random(index), pixels) for index, scene in enumerate(scenes)]), scenes


def _training_scenes(count: int, seed: int) -> Iterator[Scene]:
    rng = Random(seed)
    while count:
        scene = random_scene(rng)
        if not scene.held_out:
            count -= 1
            yield scene


def normalised(images: np.ndarray) -> torch.Tensor:
    """Return uint8 images (n, h, w, 3) as floats in -1..1, (n, 3, h, w)."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return (pixels / 255 - MEAN) / STD


def tokens(words: Any, texts: list[str], *, shortest: bool = False) -> dict[str, torch.Tensor]:
    """Return the texts as token ids, padded to `MAX_TOKENS` as the pipeline does, or to the longest."""
    kind = "longest" if shortest else "max_length"
    encoded = words(texts, padding=kind, max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return {"input_ids": encoded.input_ids}


def _cuts(images: np.ndarray, rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    places = rng.integers(PIXELS - side, size=(count, 2))
    chosen = rng.integers(len(images), size=count)
    return np.stack([images[i, y : y + side, x : x + side] for i, (y, x) in zip(chosen, places, strict=True)])


def text_states() -> torch.Tensor:
    """Return what the denoiser is told of each drawing, (1 + 2 * IMAGES, MAX_TOKENS, 128); the first is no text."""
    encoder = text_encoder_of(trained("scorer", new_scorer()))
    words = tokenizer()
    captions = [""]
    for pixels in (PIXELS // 2, PIXELS):
        captions += [scene.caption for scene in _training_scenes(IMAGES, seed=pixels)]
    batches = [captions[i : i + 256] for i in range(0, len(captions), 256)]
    with torch.no_grad():
        return torch.cat([encoder(**tokens(words, batch))[0] for batch in batches])


def latents(pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the drawings' scaled latents, (IMAGES, 4, pixels/4, pixels/4), and their rows in `text_states`."""
    file = CHECKPOINTS / f"latents-{pixels}.pt"
    if not file.exists():
        vae = trained("vae", new_vae())
        images = drawings(pixels)[0]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            parts = [vae.encode(normalised(images[i : i + 64])).latent_dist.mean.float() for i in range(0, IMAGES, 64)]
        torch.save(torch.cat(parts), file)
    rows = torch.arange(IMAGES) + (1 if pixels < PIXELS else 1 + IMAGES)
    return torch.load(file, weights_only=True) * latent_scale(), rows


def latent_scale() -> float:
    """Return the factor that gives the autoencoder's latents a standard deviation of one."""
    file = CHECKPOINTS / f"latents-{PIXELS}.pt"
    if not file.exists():
        raise SystemExit("The latents are not made yet: run the unet stage first.")
    return 1.0 / float(torch.load(file, weights_only=True, mmap=True)[:2000].std())


if __name__ == "__main__":
    main()
