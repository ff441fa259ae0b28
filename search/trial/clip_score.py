"""CLIP score: how well an image fits its prompt.

Source: Hessel et al. 2021, arXiv:2104.08718, here as 100 * max(cosine, 0). Scores of different scorers, or of
one scorer after different resizing, must not be compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


class Scorer:
    """A CLIPModel from a folder, with the image preprocessing that its preprocessor_config.json names."""

    def __init__(self, folder: Path) -> None:
        """Load the model in fp32 on the CPU: the pipeline's device is not its business."""
        import torch
        from transformers import CLIPModel, CLIPTokenizer

        self._model = CLIPModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
        self._model.eval()
        self._tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        self._preprocessing = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))

    def scores(self, files: list[Path], prompts: list[str]) -> list[float]:
        """Return the score of each image against its own prompt."""
        images, texts = self.image_features(files), self.text_features(prompts)
        cosines = (images * texts).sum(-1)
        return [100 * max(0.0, float(cosine)) for cosine in cosines]

    def image_features(self, files: list[Path]) -> Any:
        """Return unit vectors of the images, (n, projection)."""
        import torch

        pixels = torch.stack([torch.from_numpy(self._pixels(file)) for file in files])
        with torch.no_grad():
            features = self._model.get_image_features(pixel_values=pixels).pooler_output
        return features / features.norm(dim=-1, keepdim=True)

    def text_features(self, prompts: list[str]) -> Any:
        """Return unit vectors of the prompts, (n, projection); a prompt longer than the model reads is cut."""
        import torch

        tokens = self._tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
        with torch.no_grad():
            features = self._model.get_text_features(**tokens).pooler_output
        return features / features.norm(dim=-1, keepdim=True)

    def _pixels(self, file: Path) -> np.ndarray:
        """Return an image resized, cut and normalised for the model, float32 of shape (3, side, side)."""
        from PIL import Image

        how = self._preprocessing
        side, cut = how["size"]["shortest_edge"], how["crop_size"]["height"]
        image = Image.open(file).convert("RGB")
        scale = side / min(image.size)
        if scale != 1:
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling(how.get("resample", 3)))
        left, top = (image.width - cut) // 2, (image.height - cut) // 2
        values = np.asarray(image.crop((left, top, left + cut, top + cut)), dtype=np.float32) / 255
        normalised = (values - np.float32(how["image_mean"])) / np.float32(how["image_std"])
        return np.ascontiguousarray(normalised.transpose(2, 0, 1), dtype=np.float32)
