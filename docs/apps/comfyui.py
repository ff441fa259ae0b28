"""What to set in ComfyUI: `python comfyui.py MODEL [URL]` asks the daemon, and needs nothing but Python.

ComfyUI has an engine of its own, so that the plan's latency is not its latency: what is printed is where the same thing
is set. What it has no counterpart for is said too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

URL = "http://127.0.0.1:8377"
SET = {
    ("precision", "fp32"): "start it with --fp32-unet",
    ("precision", "bf16"): "start it with --bf16-unet --bf16-text-enc",
    ("precision", "fp16"): "start it with --fp16-unet --fp16-text-enc",
    ("vae_precision", "fp32"): "start it with --fp32-vae",
    ("memory_format", "channels_last"): "start it with --force-channels-last",
    ("attention", "sage"): "start it with --use-sage-attention",
    ("attention", "flash"): "start it with --use-flash-attention",
    ("quantization", "fp8_storage"): "start it with --fp8_e4m3fn-unet",
    ("text_encoder_quantization", "fp8_storage"): "start it with --fp8_e4m3fn-text-enc",
    ("offload", "model"): "start it with --normalvram, which unloads what is not used",
    ("offload", "sequential"): "start it with --lowvram",
    ("compile", "full"): "put a TorchCompileModel node behind the loader, backend inductor",
    ("compile", "regional"): "put a TorchCompileModel node behind the loader, backend inductor",
    ("vae_tiling", "tiling"): "use VAE Decode (Tiled)",
}
"""By knob and choice. Source: ComfyUI, `comfy/cli_args.py` and `comfy_extras/`."""

SAMPLER = {"num_inference_steps": "steps", "guidance_scale": "cfg"}
LATENT = {"width": "width", "height": "height"}


def lines(answer: dict[str, Any]) -> Iterator[str]:
    """Yield what to set, one thing a line."""
    yield answer["reason"]
    for name, value in answer["environment"].items():
        yield f"environment: start it with {name}={value}"
    for knob, choice in answer["apply"].items():
        how = f"put a TomePatchModel node behind the loader, ratio {choice}" if knob == "tome_ratio" else None
        yield f"{knob}={choice}: {how or SET.get((knob, choice), 'has no counterpart')}"
    for node, fields in (("KSampler", SAMPLER), ("Empty Latent Image", LATENT)):
        yield from (f"{node}: {fields[name]} {value}" for name, value in answer["call"].items() if name in fields)


def main(model: str, url: str = URL) -> None:
    """Ask the daemon, and print what to set."""
    opener = build_opener(ProxyHandler({}))  # loopback goes past any proxy
    with opener.open(f"{url}/v1/plan?{urlencode({'model': model})}", timeout=5) as response:
        print(*lines(json.load(response)), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
