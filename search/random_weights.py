"""Components with made-up weights: a pipeline at its full size, where nothing but its configurations can be had.

How long a call takes and how much memory it needs depend on the shapes of weights and on their formats, and on next
to nothing else. So latency and memory are real, and images are those of no model.

Each tensor is made on its device and in its precision when the libraries' own loading asks for it, and is quantized,
where it is to be, before the next one is made: a component is never there twice, and one in int4 never whole in bf16.
docs/adr/0009-made-up-weights-are-loaded-as-files-are.md

Source: diffusers 0.42, `ModelMixin.from_pretrained` (whose steps `_of_diffusers` takes, with
`models/model_loading_utils.py`, `load_model_dict_into_meta`, and the `DiffusersQuantizer`s' own methods);
transformers 5.23, `PreTrainedModel.from_pretrained(None, config=..., state_dict=...)`, which slices what is in the
state dict as it does with files' tensors (`core_model_loading.py`, `_materialize_copy`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from zlib import crc32

from ..probes.model import Tensor, tensors_of
from .stand_in_tokenizer import has_words, stand_in_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..probes.model import Component, ModelCard

POOL = 1_048_573
"""How many normal numbers all weights are made of. A prime: no two rows of a matrix are the same."""

KERNEL = 16
"""A last dimension up to this is that of a convolution's kernel; a larger one is what rows are summed over."""

PUBLISHED = "BF16"
"""The format that most weights are published in, where no file says which."""


def made_up(card: ModelCard, arguments: Mapping[str, Any], device: str = "cpu") -> dict[str, Any]:
    """Return the components of a pipeline that are not among the arguments of its `from_pretrained`.

    Those with weights have made-up ones, in the precision and the quantization that the arguments say; tokenizers
    whose words are not in the folder have a stand-in. Schedulers and all else that has no weights are not here.
    """
    quantized = arguments.get("quantization_config")
    kinds = quantized.quant_mapping if quantized else {}
    found = {}
    for component in card.components:
        if component.name not in arguments:
            asked = kinds.get(component.name)
            found[component.name] = make(card, component, dtype_of(component, arguments), device, asked)
    return {name: made for name, made in found.items() if made is not None}


def dtype_of(component: Component, arguments: Mapping[str, Any]) -> Any:
    """Return the format of a component's weights that the arguments of a pipeline's `from_pretrained` stand for."""
    dtype = arguments["dtype"]
    return dtype.get(component.name, dtype.get("default")) if isinstance(dtype, dict) else dtype


def make(card: ModelCard, component: Component, dtype: Any, device: str = "cpu", quantization: Any = None) -> Any:
    """Return one component; None where it has neither weights nor words."""
    import diffusers
    import transformers

    kind = _class_of(component)
    if issubclass(kind, diffusers.ModelMixin):
        return _of_diffusers(kind, card, component, dtype, device, quantization)
    if issubclass(kind, transformers.PreTrainedModel):
        return _of_transformers(kind, card, component, dtype, device, quantization)
    if issubclass(kind, transformers.PreTrainedTokenizerBase) and not has_words(card, component):
        return stand_in_tokenizer(card, component)
    return None


def tensors_in(card: ModelCard, component: Component) -> dict[str, Tensor]:
    """Return the tensors of a component by name: as its files say, or where it has none made-up weights, its class.

    To ask a class, torch is imported.
    """
    return tensors_of(card, component.name) or (shapes_of(card, component) if card.weights == "random" else {})


def shapes_of(card: ModelCard, component: Component) -> dict[str, Tensor]:
    """Return the tensors that a component has, by name, from its configuration alone; empty where it has no weights."""
    import diffusers
    import transformers

    if not issubclass(_class_of(component), (diffusers.ModelMixin, transformers.PreTrainedModel)):
        return {}
    parameters = empty(card, component).named_parameters()
    return {name: Tensor(PUBLISHED, tuple(each.shape)) for name, each in parameters}


def values(name: str, shape: Sequence[int], dtype: Any, device: str = "cpu") -> Any:
    """Return the tensor of that name: the same in every process, up to the rounding of its format.

    A bias is 0, a vector 1 (the scales of norms are), and all else is normal, as large as leaves sums as large as what
    is summed: also what models initialise to zero, so that nothing is left out of an image.
    """
    import torch

    made = torch.empty(tuple(shape), dtype=dtype, device=device)
    if name.endswith("bias"):
        return made.zero_()
    if made.numel() == max(shape, default=1):
        return made.fill_(1)
    summed = shape[-1] if shape[-1] > KERNEL else made.numel() // shape[0]
    pool, flat, begin, place = _pool(device), made.view(-1), 0, crc32(name.encode()) % POOL
    while begin < flat.numel():
        part = pool[place : place + flat.numel() - begin]
        torch.mul(part, summed**-0.5, out=flat[begin : begin + part.numel()])
        begin, place = begin + part.numel(), 0
    return made


@cache
def _pool(device: str) -> Any:
    import torch

    return torch.randn(POOL, generator=torch.Generator().manual_seed(0)).to(device)


def _class_of(component: Component) -> Any:
    return getattr(importlib.import_module(component.library), component.class_name, object)


class _Lazily(Mapping[str, Any]):
    """A state dict whose parameters are made when they are looked at, and whose buffers are the module's own."""

    def __init__(self, module: Any, dtype: Any, device: str) -> None:
        self._module, self._dtype, self._device = module, dtype, device
        self._shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._module.state_dict())

    def __len__(self) -> int:
        return len(self._module.state_dict())

    def __getitem__(self, name: str) -> Any:
        if name in self._shapes:
            return values(name, self._shapes[name], self._dtype, self._device)
        return self._module.get_buffer(name)


class _Slice:
    """A parameter that is made when it is sliced, as transformers does with those that lie in files."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any, device: str) -> None:
        self._made_of = (name, shape, dtype, device)

    def __getitem__(self, _: Any) -> Any:
        return values(*self._made_of)


def _of_diffusers(  # noqa: PLR0913 - what `from_pretrained` is told
    kind: Any, card: ModelCard, component: Component, dtype: Any, device: str, quantization: Any
) -> Any:
    """Return a model of diffusers, by the steps of its `from_pretrained`."""
    from accelerate import init_empty_weights
    from diffusers.models.model_loading_utils import load_model_dict_into_meta
    from diffusers.quantizers import DiffusersAutoQuantizer

    device_map: Any = None if device == "cpu" else {"": device}
    config = dict(kind.load_config(card.folder, subfolder=component.name, local_files_only=True))
    quantizer = None
    if quantization is not None:
        config["quantization_config"] = quantization
        quantizer = DiffusersAutoQuantizer.from_config(quantization, pre_quantized=False)
        quantizer.validate_environment(torch_dtype=dtype, device_map=device_map)
        dtype = quantizer.update_torch_dtype(dtype)
        device_map = quantizer.update_device_map(device_map)
    with _default_dtype(dtype), init_empty_weights():
        module = kind.from_config(config)
    keeps = quantizer is None or getattr(quantizer, "use_keep_in_fp32_modules", False)
    kept = list(kind._keep_in_fp32_modules or ()) if keeps else []  # noqa: SLF001 - what diffusers itself reads
    if quantizer:
        quantizer.preprocess_model(model=module, device_map=device_map, keep_in_fp32_modules=kept)
    weights = _Lazily(module, dtype, device_map[""] if device_map else "cpu")
    load_model_dict_into_meta(
        module, weights, dtype=dtype, hf_quantizer=quantizer, keep_in_fp32_modules=kept, device_map=device_map
    )
    if quantizer:
        quantizer.postprocess_model(module)
        module.hf_quantizer = quantizer
        module.register_to_config(_pre_quantization_dtype=dtype)
    module.register_to_config(_name_or_path=card.folder)
    return module.eval()


def _of_transformers(  # noqa: PLR0913 - what `from_pretrained` is told
    kind: Any, card: ModelCard, component: Component, dtype: Any, device: str, quantization: Any
) -> Any:
    """Return a model of transformers, by its `from_pretrained`."""
    shapes = ((name, tuple(each.shape)) for name, each in empty(card, component).named_parameters())
    return kind.from_pretrained(
        None,
        config=_config_of(kind, card, component),
        state_dict={name: _Slice(name, shape, dtype, device) for name, shape in shapes},
        dtype=dtype,
        local_files_only=True,
        **({"quantization_config": quantization} if quantization is not None else {}),
        **({} if device == "cpu" else {"device_map": {"": device}}),
    )


def empty(card: ModelCard, component: Component) -> Any:
    """Return the component on the device that has no memory."""
    import diffusers
    import torch

    kind = _class_of(component)
    with torch.device("meta"):
        if issubclass(kind, diffusers.ModelMixin):
            return kind.from_config(kind.load_config(card.folder, subfolder=component.name, local_files_only=True))
        return kind(_config_of(kind, card, component))


def _config_of(kind: Any, card: ModelCard, component: Component) -> Any:
    return kind.config_class.from_pretrained(card.folder, subfolder=component.name, local_files_only=True)


@contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    """Let numbers that a model makes as it is constructed have a format, as `from_pretrained` does."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
