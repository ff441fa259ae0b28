"""DeepCache: the deep blocks of a UNet run only every few steps; between, their last output is used again.

Neighbouring steps differ little in the deep, coarse features and much in the shallow ones. A whole step keeps what
enters the last layer of the last up block; a shallow step runs what comes before the first block, that layer, and what
comes after the last block.

Source: Ma et al. 2023, arXiv:2312.00858 (the branch of least cost). Their package wraps every block's forward; here the
shallow half is a UNet of its own that shares the layers, so that it can also be compiled and converted.
"""

from __future__ import annotations

import copy
from typing import Any

INTERVALS = {"deepcache_2": 2, "deepcache_3": 3, "deepcache_5": 5}


class DeepCache:
    """Decides for each call of a UNet which half runs, and keeps the deep features between them.

    whole: called as the UNet, returns its output and the deep features (batch, channels, height, width).
    shallow: called with the deep features and then as the UNet, returns its output.
    interval: of this many steps the first is whole; so is every step whose shape or timestep says that it begins anew.
    """

    def __init__(self, whole: Any, shallow: Any, interval: int) -> None:
        """Begin with nothing kept."""
        self.whole, self.shallow, self.interval = whole, shallow, interval
        self._deep: Any = None
        self._shape: Any = None
        self._timestep = float("inf")
        self._step = 0

    def install(self, unet: Any) -> None:
        """Answer the calls of a UNet from now on."""
        unet.deepcache = self
        unet.forward = self.forward

    def forward(self, sample: Any, timestep: Any, *args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        """Take the place of the UNet's own forward."""
        kwargs["return_dict"] = False
        if self._is_whole(sample, float(timestep)):
            result, self._deep = self.whole(sample, timestep, *args, **kwargs)[:2]
        else:
            result = self.shallow(self._deep, sample, timestep, *args, **kwargs)[0]
        if not return_dict:
            return (result,)
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        return UNet2DConditionOutput(sample=result)

    def _is_whole(self, sample: Any, timestep: float) -> bool:
        """Return whether all blocks are due. Timesteps fall from noise to image: one that does not is a new image's."""
        new = sample.shape != self._shape or timestep >= self._timestep
        self._step = 0 if new else self._step + 1
        self._shape, self._timestep = sample.shape, timestep
        return self._step % self.interval == 0


def apply(unet: Any, choice: str) -> None:
    """Cache the deep features of a UNet2DConditionModel."""
    DeepCache(*halves_of(unet), INTERVALS[choice]).install(unet)


def halves(denoiser: Any) -> list[Any]:
    """Return the modules that run when the denoiser is called: itself, or its two halves."""
    cache = vars(denoiser).get("deepcache")
    return [cache.whole, cache.shallow] if cache else [denoiser]


def halves_of(unet: Any) -> tuple[Any, Any]:
    """Return the UNet that also gives its deep features, and the shallow one that takes them; they share its layers."""
    import torch

    class Whole(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def __init__(self) -> None:
            super().__init__()
            self.unet = _twin(unet)
            self._deep: Any = None
            unet.up_blocks[-1].resnets[-1].register_forward_pre_hook(self._note)

        def _note(self, layer: Any, args: Any) -> None:
            """Keep what enters the last layer, without the skip connection that was put beside it."""
            del layer
            self._deep = args[0][:, : args[0].shape[1] - unet.config.block_out_channels[0]]

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.unet(*args, **kwargs)[0], self._deep

    class Recall(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        """Stands where the middle block was, and gives the deep features instead of its output."""

        deep: Any = None

        def forward(self, *args: Any) -> Any:
            del args
            return self.deep

    class Shallow(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def __init__(self) -> None:
            super().__init__()
            self.unet = _twin(unet)
            self.unet.down_blocks = torch.nn.ModuleList()
            self.unet.mid_block = Recall()
            self.unet.up_blocks = torch.nn.ModuleList([_last_layer(unet.up_blocks[-1])])

        def forward(self, deep: Any, *args: Any, **kwargs: Any) -> Any:
            self.unet.mid_block.deep = deep
            return self.unet(*args, **kwargs)

    return Whole().eval(), Shallow().eval()


def _last_layer(block: Any) -> Any:
    """Return a block that has only the last layer of another, the very same one."""
    part = _twin(block)
    for name in ("resnets", "attentions"):
        if hasattr(block, name):
            setattr(part, name, getattr(block, name)[-1:])
    return part


def _twin(module: Any) -> Any:
    """Return a module with the same submodules, parameters and hooks, whose own submodules can be replaced."""
    twin = copy.copy(module)
    twin.__dict__["_modules"] = dict(vars(module)["_modules"])  # a shallow copy shares this dictionary
    return twin
