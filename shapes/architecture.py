"""The untrained parts of `shapes`: which classes of diffusers and transformers, and how large."""

from __future__ import annotations

from typing import Any

from .draw import PIXELS
from .vocabulary import MAX_TOKENS, tokenizer

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
    import torch

    torch.nn.init.normal_(model.vision_model.embeddings.position_embedding.weight, std=0.2)
    return model


def text_encoder_of(scorer: Any) -> Any:
    """Return the scorer's text half as the `CLIPTextModel` that a pipeline holds."""
    from transformers import CLIPTextModel

    encoder = CLIPTextModel(scorer.config.text_config)
    encoder.load_state_dict(scorer.text_model.state_dict())
    return encoder.eval()
