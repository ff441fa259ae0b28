"""What each knob adds to a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...search.knobs import cache_dit, deepcache, gguf, quanto, torchao
from ...search.knobs.attention import BACKENDS
from ...search.knobs.guidance import CONDITIONS, WITH_A_MASK
from ...search.knobs.hook_caches import HOOK_CACHES
from ...search.knobs.inductor import MODES, SHAPES, regions_of
from ...search.knobs.offload import DISK
from ...search.knobs.offload import GROUPS as GROUPS_OF
from ...search.knobs.text_encoder_quantization import encoders
from ...search.knobs.threads import wanted
from . import brought
from .graphs import write_graphs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...probes.model import Component
    from ...search.knobs import Bench, Choices
    from .draft import Draft

DTYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16", "tf32": "torch.float32"}


def _dtype(choices: Choices) -> str:
    return DTYPES["fp32" if choices["compile"] == "openvino" else str(choices["precision"])]


def _precision(draft: Draft, choices: Choices, bench: Bench) -> None:
    del bench
    dtype = _dtype(choices)
    if choices["vae_precision"] != "same":
        dtype = f'{{"vae": torch.float32, "default": {dtype}}}'
    draft.loading.append(f"dtype={dtype}")
    if choices["precision"] == "tf32":
        draft.before += ["torch.backends.cuda.matmul.allow_tf32 = True", "torch.backends.cudnn.allow_tf32 = True"]


def _vae_precision(draft: Draft, choices: Choices, bench: Bench) -> None:
    del choices, bench
    draft.after += [
        "decode = pipe.vae.decode",
        "pipe.vae.decode = lambda latents, *args, **kwargs: decode(latents.to(pipe.vae.dtype), *args, **kwargs)",
    ]


def _threads(draft: Draft, choices: Choices, bench: Bench) -> None:
    del bench
    draft.before.append(f"torch.set_num_threads({wanted(choices)})")


def _memory_format(draft: Draft, choices: Choices, bench: Bench) -> None:
    del choices, bench
    draft.after += [f"pipe.{name}.to(memory_format=torch.channels_last)" for name in ("unet", "vae")]


def _fuse_qkv(draft: Draft, choices: Choices, bench: Bench) -> None:
    del choices
    if bench.card.has("unet"):
        vae = bench.card.component("vae")
        draft.after.append(f"pipe.fuse_qkv_projections(vae={bool(vae and vae.class_name == 'AutoencoderKL')})")
    else:
        draft.after += [f"pipe.{name}.fuse_qkv_projections()" for name in _transformers(bench)]


def _transformers(bench: Bench) -> list[str]:
    return [name for name in ("transformer", "transformer_2") if bench.card.has(name)]


def _attention(draft: Draft, choices: Choices, bench: Bench) -> None:
    from ...probes.classes import abilities

    choice, denoiser = str(choices["attention"]), f"pipe.{bench.card.denoiser.name}"
    if abilities(bench.card.denoiser.class_name).dispatches:
        draft.after.append(f'{denoiser}.set_attention_backend("{BACKENDS[choice]}")')
    elif choice == "xformers":
        draft.after.append(f"{denoiser}.enable_xformers_memory_efficient_attention()")
    else:
        draft.imports.add("from diffusers.models.attention_processor import AttnProcessor")
        draft.after.append(f"{denoiser}.set_attn_processor(AttnProcessor())")


def _quantization(draft: Draft, choices: Choices, bench: Bench) -> None:
    _quantized(draft, "quantization", [bench.card.denoiser], choices, bench)


def _text_encoder_quantization(draft: Draft, choices: Choices, bench: Bench) -> None:
    _quantized(draft, "text_encoder_quantization", encoders(bench.card), choices, bench)


def _vae_quantization(draft: Draft, choices: Choices, bench: Bench) -> None:
    vaes = [each for each in bench.card.components if each.name == "vae"]
    _quantized(draft, "vae_quantization", vaes, choices, bench)


def _quantized(draft: Draft, knob: str, components: list[Component], choices: Choices, bench: Bench) -> None:
    kind = str(choices[knob])
    for component in components:
        if kind in torchao.KINDS:
            _with_torchao(draft, kind, component, bench)
        elif kind in quanto.KINDS:
            _while_loading(draft, component, f"QuantoConfig(weights_dtype={quanto.KINDS[kind]!r})")
        elif kind in gguf.KINDS:
            _from_gguf(draft, kind, component, choices, bench)
        elif kind == "fp8_storage":
            draft.bring(brought.FP8)
            draft.after.append(f"store_in_fp8(pipe.{component.name})")
        elif kind.startswith("bnb"):
            _with_bitsandbytes(draft, kind, component, bench)  # what NNCF quantized is in the graphs


def _while_loading(draft: Draft, component: Component, how: str) -> None:
    draft.imports |= {f"import {component.library}", "from diffusers import PipelineQuantizationConfig"}
    draft.quantized.append(f'"{component.name}": {component.library}.{how}')


def _with_torchao(draft: Draft, kind: str, component: Component, bench: Bench) -> None:
    chosen = torchao.KINDS[kind]
    left = torchao.config(kind, component, bench).modules_to_not_convert
    how = brought.spelt(chosen.config(), draft.imports)
    _while_loading(draft, component, f"TorchAoConfig({how}{f', modules_to_not_convert={left!r}' if left else ''})")
    if chosen.takes_1x1:
        draft.bring(brought.POINTWISE)
        draft.after.append(f"quantize_1x1(pipe.{component.name}, {how}, {chosen.takes.__name__})")


def _with_bitsandbytes(draft: Draft, kind: str, component: Component, bench: Bench) -> None:
    if bench.device == "cpu":
        draft.bring(brought.BITSANDBYTES)
        module = f"pipe.{component.name}"
        kept = f"frozenset({module}._keep_in_fp32_modules or ())"
        draft.after.append(f"replace_linear({module}, {kind!r}, {kept})")
    elif kind == "bnb_int8":
        _while_loading(draft, component, "BitsAndBytesConfig(load_in_8bit=True)")
    else:
        options = f'bnb_4bit_quant_type="{kind.removeprefix("bnb_")}", bnb_4bit_compute_dtype=torch.bfloat16'
        _while_loading(draft, component, f"BitsAndBytesConfig(load_in_4bit=True, {options})")


def _from_gguf(draft: Draft, kind: str, component: Component, choices: Choices, bench: Bench) -> None:
    draft.bring(brought.GGUF)
    file, folder = str(gguf.file_of(kind, component, bench)), f"{bench.card.folder}/{component.name}"
    arguments = ", ".join(map(repr, (file, component.library, component.class_name, folder)))
    draft.loading.append(f"{component.name}=read({arguments}, {_dtype(choices)})")


def _tome(draft: Draft, choices: Choices, bench: Bench) -> None:
    del bench
    if choices["compile"] == "openvino":
        return  # it is in the graph
    draft.imports.add("import tomesd")
    draft.after += [
        'has_attention = ["Attn" in kind for kind in pipe.unet.config.down_block_types]',
        "first = has_attention.index(True) if any(has_attention) else 0",
        f"tomesd.apply_patch(pipe, ratio={choices['tome_ratio']}, max_downsample=2**first, use_rand=False)",
    ]


def _feature_cache(draft: Draft, choices: Choices, bench: Bench) -> None:
    choice, denoiser = str(choices["feature_cache"]), f"pipe.{bench.card.denoiser.name}"
    if choice in deepcache.INTERVALS:
        if choices["compile"] != "openvino":  # which has a graph for each half
            draft.bring(brought.DEEPCACHE)
            interval = deepcache.INTERVALS[choice]
            draft.after.append(f"DeepCache(*halves_of({denoiser}), {interval}).install({denoiser})")
    elif choice in cache_dit.DUAL_BLOCK_CACHES:
        draft.bring(brought.CACHE_DIT)
        cache, calibrator = (brought.spelt(each, draft.imports) for each in cache_dit.configured(choice, bench))
        draft.after.append(f"enable(pipe, {cache}, {calibrator})")
    else:
        config = HOOK_CACHES[choice].config(None, choices, bench)
        weight = getattr(config, "attention_weight_callback", None)
        said = {"current_timestep_callback": "lambda: pipe.current_timestep"}
        if weight:
            said["attention_weight_callback"] = f"lambda _: {weight(None)!r}"
        for name in _transformers(bench):
            draft.after.append(f"pipe.{name}.enable_cache({brought.spelt(config, draft.imports, said)})")


def _vae_tiling(draft: Draft, choices: Choices, bench: Bench) -> None:
    del bench
    draft.after.append(f"pipe.vae.enable_{choices['vae_tiling']}()")


def _offload(draft: Draft, choices: Choices, bench: Bench) -> None:
    choice = str(choices["offload"])
    if choice in GROUPS_OF:
        draft.bring(brought.GROUPS)
        disk = f"Path({str(bench.artifacts)!r})" if choice == DISK else "None"
        draft.after.append(f'offload_groups(pipe, {GROUPS_OF[choice]!r}, "{bench.device}", {disk})')
    else:
        draft.after.append(f'pipe.enable_{choice}_cpu_offload(device="{bench.device}")')


def _compile(draft: Draft, choices: Choices, bench: Bench) -> None:
    choice, shapes, denoiser = str(choices["compile"]), str(choices["compile_shapes"]), bench.card.denoiser
    if choice == "openvino":
        write_graphs(draft, choices, bench)
        return
    if shapes == "dynamic":
        draft.before.append("torch.fx.experimental._config.use_duck_shape = False")
    if choice == "regional":
        draft.before.append("torch._dynamo.config.recompile_limit = 64")
        draft.after += [
            f"for module in pipe.{denoiser.name}.modules():",
            f"    if type(module).__name__ in {regions_of(denoiser.class_name)!r}:",
            f"        module.compile(dynamic={SHAPES[shapes]})",
        ]
        return
    how = f"compile(mode={MODES.get(choice)!r}, dynamic={SHAPES[shapes]})"
    if choices["feature_cache"] in deepcache.INTERVALS:
        draft.after += [f"for half in halves(pipe.{denoiser.name}):", f"    half.{how}"]
    else:
        draft.after.append(f"pipe.{denoiser.name}.{how}")


def _guidance(draft: Draft, choices: Choices, bench: Bench) -> None:
    share, names = float(choices["guidance_cutoff"]), CONDITIONS[bench.card.pipeline_class]
    draft.bring(brought.GUIDANCE)
    if bench.card.pipeline_class in WITH_A_MASK:
        draft.bring(brought.MASK)
        denoiser = f"pipe.{bench.card.denoiser.name}"
        draft.after.append(f"{denoiser}.register_forward_pre_hook(halve_mask, with_kwargs=True)")
    draft.calling += [
        f"callback_on_step_end=cutoff({share}, {names!r})",
        f"callback_on_step_end_tensor_inputs={[*names]!r}",
    ]


def _vae_compile(draft: Draft, choices: Choices, bench: Bench) -> None:
    del choices, bench
    draft.after.append("pipe.vae.decoder.compile()")


def _read_by_others(draft: Draft, choices: Choices, bench: Bench) -> None:
    """Nothing: `compile` reads it, or the program begins with it."""
    del draft, choices, bench


WRITERS: dict[str, Callable[[Draft, Choices, Bench], Any]] = {
    "precision": _precision,
    "vae_precision": _vae_precision,
    "threads": _threads,
    "allocator": _read_by_others,
    "huge_pages": _read_by_others,
    "memory_format": _memory_format,
    "fuse_qkv": _fuse_qkv,
    "attention": _attention,
    "quantization": _quantization,
    "text_encoder_quantization": _text_encoder_quantization,
    "vae_quantization": _vae_quantization,
    "tome_ratio": _tome,
    "feature_cache": _feature_cache,
    "vae_tiling": _vae_tiling,
    "offload": _offload,
    "compile_shapes": _read_by_others,
    "compile": _compile,
    "guidance_cutoff": _guidance,
    "vae_compile": _vae_compile,
}
"""What writes each knob, in the order in which they are turned."""
