"""GGUF: linear layers with weights in blocks of 32, in the formats of llama.cpp.

The file is made here from the model's own weights, once, and read by every later trial and by the app. diffusers reads
GGUF through `from_single_file`, which only some classes have; its quantizer itself takes any module, so that every
denoiser and every text encoder can be had. Weights are expanded for each call: memory is saved, and no time.

The K-quants are not here: the package `gguf` reads them and cannot write them. A GGUF file that somebody else made
waits for models that are one file: its tensors have the names of the original checkpoint.
Source: diffusers 0.42, `loaders/single_file_model.py`, `quantizers/gguf`; gguf 0.19, `quants.py`.
"""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...value import key_of
from ..random_weights import make, tensors_in

if TYPE_CHECKING:
    from ...probes.model import Component, Tensor
    from .knob import Bench

KINDS = {f"gguf_{name}": name.upper() for name in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0")}
"""What gguf calls each kind: its bits, and whether blocks have a minimum (1) beside their scale."""

BLOCK = 32
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

log = logging.getLogger(__name__)


def file_of(kind: str, component: Component, bench: Bench) -> Path:
    """Return where the file lies: the model, the kind and the software are in its name."""
    facts = [bench.card.revision, bench.software, kind]
    return bench.artifacts / "gguf" / f"{component.name}-{key_of(facts)}.gguf"


def build(kind: str, component: Component, bench: Bench) -> None:
    """Write the file, unless it is there. Takes the memory of the component, and a minute for each 5 GB or so."""
    file = file_of(kind, component, bench)
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=".draft-")
    os.close(descriptor)
    _write(Path(draft), KINDS[kind], component, bench)
    Path(draft).rename(file)  # it is there whole or not at all, whoever else makes it at the same time


def _write(file: Path, name: str, component: Component, bench: Bench) -> None:
    import gguf
    import torch

    module = _with_weights(component, bench)
    quantized = {f"{layer}.weight" for layer in quantizable(module)}
    writer = gguf.GGUFWriter(file, component.class_name)
    for key, tensor in module.state_dict().items():
        if key in quantized:
            format_ = gguf.GGMLQuantizationType[name]
            writer.add_tensor(key, gguf.quants.quantize(tensor.float().numpy(), format_), raw_dtype=format_)
        else:
            exact = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            writer.add_tensor(key, exact.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _own_dtype(component: Component, bench: Bench) -> Any:
    """Return the format that most of a component's tensors have in its files."""
    import torch

    [(name, _)] = Counter(tensor.dtype for tensor in tensors_in(bench.card, component).values()).most_common(1)
    return getattr(torch, DTYPES.get(name, "float32"))


def takes(tensor: Tensor) -> bool:
    """Whether blocks fill the inputs of a linear layer with that weight."""
    return tensor.shape[1] % BLOCK == 0


def quantizable(module: Any) -> list[str]:
    """Return the names of the linear layers that blocks fill, without those that the class keeps in fp32."""
    import torch

    kept = set(module._keep_in_fp32_modules or ())  # noqa: SLF001 - what diffusers and transformers read as well
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer.in_features % BLOCK == 0 and not kept & set(name.split("."))
    ]


def load(kind: str, component: Component, bench: Bench, dtype: Any) -> Any:
    """Return the component with its weights from the file, made first where it is not there yet.

    dtype: what it computes in, and what has no blocks is kept in.
    """
    build(kind, component, bench)
    folder = str(Path(bench.card.folder) / component.name)
    return read(str(file_of(kind, component, bench)), component.library, component.class_name, folder, dtype)


def read(file: str, library: str, class_name: str, folder: str, dtype: Any) -> Any:
    """Return a component of that class, as its folder configures it, with the weights of a file."""
    from accelerate import init_empty_weights
    from diffusers import GGUFQuantizationConfig
    from diffusers.models.model_loading_utils import load_gguf_checkpoint, load_model_dict_into_meta
    from diffusers.quantizers.gguf import GGUFQuantizer

    weights = load_gguf_checkpoint(file)
    with init_empty_weights():
        module = without_weights(library, class_name, folder)
    kept = list(module._keep_in_fp32_modules or ())  # noqa: SLF001 - as above
    quantizer = GGUFQuantizer(GGUFQuantizationConfig(compute_dtype=dtype))
    quantizer.preprocess_model(model=module, device_map=None, state_dict=weights, keep_in_fp32_modules=[])
    if library == "diffusers":
        load_model_dict_into_meta(
            module, weights, dtype=dtype, hf_quantizer=quantizer, device_map={"": "cpu"}, keep_in_fp32_modules=kept
        )
        module.hf_quantizer = quantizer
    else:
        load_model_dict_into_meta(module, weights, dtype=dtype, hf_quantizer=quantizer, device_map={"": "cpu"})
        module.tie_weights()
    return module.eval()


def _with_weights(component: Component, bench: Bench) -> Any:
    dtype = _own_dtype(component, bench)
    if bench.card.weights == "random":
        return make(bench.card, component, dtype)
    kind = getattr(importlib.import_module(component.library), component.class_name)
    return kind.from_pretrained(bench.card.folder, subfolder=component.name, dtype=dtype, local_files_only=True)


def without_weights(library: str, class_name: str, folder: str) -> Any:
    """Return a component of that class as its folder configures it."""
    kind = getattr(importlib.import_module(library), class_name)
    if library == "diffusers":
        return kind.from_config(kind.load_config(folder, local_files_only=True))
    return kind(kind.config_class.from_pretrained(folder, local_files_only=True))
