"""Combinations that are refused, once, as data: asked before a trial, in explanations, and in the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .knobs import gguf, quanto
from .knobs.attention import HALF
from .knobs.cache_dit import DUAL_BLOCK_CACHES
from .knobs.deepcache import INTERVALS
from .knobs.inductor import MODES
from .knobs.magcache import THRESHOLDS
from .knobs.offload import BY_LAYER, DISK, STREAMS

if TYPE_CHECKING:
    from .knobs import Choices
    from .recipe import Choice


@dataclass(frozen=True)
class Rule:
    """A combination that does not work, or cannot mean anything, and how that is known.

    shows: whether a small pipeline shows it when it is made to run all the same, by failing or by one knob doing
    nothing; False for what only costs time, memory or quality.
    adapted: whether it is one only where the user has named adapters.
    """

    name: str
    broken_by: Callable[[Choices], bool]
    because: str
    source: str
    shows: bool = True
    adapted: bool = False


WHOLE = {"full", *MODES}
CUDA_GRAPHS = {"reduce_overhead", "max_autotune"}
QUANTIZATIONS = ("quantization", "text_encoder_quantization", "vae_quantization")

COUNTED = {*THRESHOLDS, *DUAL_BLOCK_CACHES}


def _torch_quantized(choice: Choice) -> bool:
    return choice != "none" and not str(choice).startswith("nncf")


def _any_quantized(choices: Choices, *kinds: str) -> bool:
    return any(choices[name] in kinds for name in QUANTIZATIONS)


BF16_ONLY = ("torchao_int4_weight_only", "torchao_fp8_dynamic_row")

RULES: tuple[Rule, ...] = (
    Rule(
        "nncf_needs_openvino",
        lambda c: c["compile"] != "openvino" and any(str(c[name]).startswith("nncf") for name in QUANTIZATIONS),
        because="NNCF quantizes an OpenVINO graph, and only compile=openvino makes one",
        source="https://docs.openvino.ai, NNCF post-training quantization",
    ),
    Rule(
        "openvino_takes_plain_weights",
        lambda c: c["compile"] == "openvino" and any(_torch_quantized(c[name]) for name in QUANTIZATIONS),
        because="OpenVINO converts plain torch weights, not the tensors of torchao or bitsandbytes",
        source="openvino.convert_model, PyTorch front end",
    ),
    Rule(
        "openvino_or_offload",
        lambda c: c["compile"] == "openvino" and c["offload"] != "none",
        because="OpenVINO runs on the CPU, where there is nothing to offload from",
        source="by definition",
    ),
    Rule(
        "fuse_before_quantizing",
        lambda c: c["fuse_qkv"] is True and _torch_quantized(c["quantization"]),
        because="fused projections are made from plain weights, and weights are quantized while they load",
        source="diffusers 0.42, models/attention.py: torch.cat of the weights' data",
    ),
    Rule(
        "fused_projections_bring_their_processor",
        lambda c: c["fuse_qkv"] is True and c["attention"] in {"eager", "xformers"},
        because="fusing sets an attention processor of its own, which another would take the place of",
        source="diffusers 0.42, models/unets/unet_2d_condition.py: FusedAttnProcessor2_0",
    ),
    Rule(
        "openvino_fuses_itself",
        lambda c: (c["fuse_qkv"] is True or c["attention"] != "default") and c["compile"] == "openvino",
        because="OpenVINO is given the graph of the pipeline as diffusers makes it, and fuses what it can",
        source="https://docs.openvino.ai, transformations of the CPU plugin",
    ),
    Rule(
        "openvino_knows_deepcache_alone",
        lambda c: c["compile"] == "openvino" and c["feature_cache"] not in {"none", *INTERVALS},
        because="OpenVINO is given a denoiser as one graph, in which hooks have no blocks to skip",
        source="search/knobs/openvino: of the caches, DeepCache alone is two graphs",
    ),
    Rule(
        "kept_features_or_cuda_graphs",
        lambda c: c["compile"] in CUDA_GRAPHS and c["feature_cache"] != "none",
        because="a CUDA graph writes over what it returned the last time, and a cache keeps just that",
        source="https://docs.pytorch.org/docs/stable/torch.compiler_cudagraph_trees.html (limitations)",
    ),
    Rule(
        "fastercache_or_guidance_cutoff",
        lambda c: c["feature_cache"] == "fastercache" and c["guidance_cutoff"] != 1.0,
        because="FasterCache keeps what guidance added, and is asked for it where there is no guidance any more",
        source="diffusers 0.42, hooks/faster_cache.py (TypeError, run)",
    ),
    Rule(
        "counted_steps_or_guidance_cutoff",
        lambda c: c["feature_cache"] in COUNTED and c["guidance_cutoff"] != 1.0,
        because="half of the calls, or of each batch, ends with guidance, and these caches would begin with the first "
        "step again, which is another one by then",
        source="diffusers 0.42, hooks/mag_cache.py (step_index); cache_dit 1.5, enable_separate_cfg",
        shows=False,
    ),
    Rule(
        "cache_dit_or_group_offload",
        lambda c: c["feature_cache"] in DUAL_BLOCK_CACHES and c["offload"] in BY_LAYER,
        because="cache-dit puts other modules in the place of the blocks, which the hooks of offload do not find",
        source="cache_dit 1.5, cache_adapter.py: 'still can't fully compatible with group offloading'",
    ),
    Rule(
        "openvino_lays_out_memory",
        lambda c: c["compile"] == "openvino" and c["memory_format"] != "contiguous",
        because="OpenVINO lays out memory as it likes, whatever the torch module's format was",
        source="https://docs.openvino.ai, CPU device (oneDNN blocked layouts)",
    ),
    Rule(
        "openvino_allocates_itself",
        lambda c: c["compile"] == "openvino" and c["huge_pages"] is True,
        because="torch's allocator asks for the huge pages, and OpenVINO's weights and activations do not come from it",
        source="torch 2.13, c10/core/impl/alloc_cpu.cpp",
        shows=False,  # the image is the same, and the variable that asks for the pages is seen
    ),
    Rule(
        "offload_or_full_compile",
        lambda c: c["compile"] in WHOLE and c["offload"] != "none",
        because="offload hooks break the one graph of a full compilation; regional compilation goes with them",
        source="https://huggingface.co/docs/diffusers/optimization/speed-memory-optims; pytorch#150711",
    ),
    Rule(
        "offload_or_vae_compile",
        lambda c: c["vae_compile"] is True and c["offload"] in BY_LAYER,
        because="offload hooks every layer of the decoder, and a hook ends the graph that is being compiled",
        source="diffusers 0.42, hooks/group_offloading.py: torch.compiler.disable",
    ),
    Rule(
        "streams_or_tiles",
        lambda c: c["offload"] in STREAMS and c["vae_tiling"] == "tiling",
        because="streams learn in the first call which layer follows which, and tiles run the layers again and again",
        source="diffusers 0.42, models/modeling_utils.py: the warning of enable_group_offload",
    ),
    Rule(
        "torchao_or_disk",
        lambda c: c["offload"] == DISK and any(str(c[name]).startswith("torchao") for name in QUANTIZATIONS),
        because="the tensors of torchao cannot be written to the files from which weights are read",
        source="diffusers 0.42, hooks/group_offloading.py: _check_disk_offload_torchao",
    ),
    Rule(
        "openvino_compiles_the_decoder",
        lambda c: c["compile"] == "openvino" and c["vae_compile"] is True,
        because="OpenVINO runs the decoder too, so that inductor would compile what is never called",
        source="search/knobs/openvino: vae.decode is one of its graphs",
    ),
    Rule(
        "openvino_decodes_at_once",
        lambda c: c["compile"] == "openvino" and c["vae_tiling"] != "none",
        because="OpenVINO's graph takes the whole latent of a batch, and has neither tiles nor slices",
        source="search/knobs/openvino: vae.decode is one static graph",
    ),
    Rule(
        "shapes_are_inductors",
        lambda c: c["compile_shapes"] != "automatic" and c["compile"] in {"none", "openvino"},
        because="compile_shapes is told to inductor, which compiles nothing of the denoiser here",
        source="by definition",
    ),
    Rule(
        "flex_is_compiled",
        lambda c: c["attention"] == "flex" and c["compile"] == "none",
        because="without inductor, flex attention writes out every score, which is slower than attention ever was",
        source="torch 2.13, nn/attention/flex_attention.py: its warning",
        shows=False,
    ),
    Rule(
        "kernels_in_half_precision",
        lambda c: c["attention"] in HALF and c["precision"] in {"fp32", "tf32"},
        because="this kernel computes in bf16 and fp16 only",
        source="diffusers 0.42, models/attention_dispatch.py: _check_qkv_dtype_bf16_or_fp16",
    ),
    Rule(
        "bnb_4bit_or_sequential_offload",
        lambda c: _any_quantized(c, "bnb_nf4", "bnb_fp4") and c["offload"] == "sequential",
        because="sequential offload moves the packed weights without their quantization state",
        source="https://github.com/huggingface/diffusers/issues/10800",
    ),
    Rule(
        "gguf_or_sequential_offload",
        lambda c: _any_quantized(c, *gguf.KINDS) and c["offload"] == "sequential",
        because="sequential offload makes new parameters of GGUF's without their kind, which raises KeyError: None",
        source="https://github.com/huggingface/diffusers/issues/14691; diffusers 0.42, quantizers/gguf/utils.py",
    ),
    Rule(
        "quanto_or_group_offload",
        lambda c: _any_quantized(c, *quanto.KINDS) and str(c["offload"]).startswith("group"),
        because="group offload moves the data of parameters, and quanto's tensors keep theirs elsewhere",
        source="https://github.com/huggingface/diffusers/issues/12610",
    ),
    Rule(
        "torchao_kernels_of_bf16",
        lambda c: c["quantization"] in BF16_ONLY and c["precision"] != "bf16",
        because="torchao makes int4 tiles and rows of fp8 from weights in bf16 alone",
        source="torchao 0.18, int4_tile_packed_to_4d_tensor.py and quant_api.py (assertions)",
    ),
    Rule(
        "vae_keeps_what_there_is",
        lambda c: c["vae_precision"] == "fp32" and c["precision"] in {"fp32", "tf32"},
        because="the VAE is in fp32 as it is",
        source="by definition",
    ),
    Rule(
        "openvino_has_its_own_precision",
        lambda c: c["vae_precision"] != "same" and c["compile"] == "openvino",
        because="OpenVINO converts from fp32, and computes every graph in the precision that it is told",
        source="https://docs.openvino.ai, CPU device (inference precision)",
    ),
    Rule(
        "fused_projections_leave_adapters_out",
        lambda c: c["fuse_qkv"] is True and c["lora"] != "fused",
        because="the one matrix is made of the weights without what is attached to them, so adapters must be fused",
        source="a run with peft 0.21: what they add to the fused projections was not in the image; diffusers#11903",
        adapted=True,
    ),
    Rule(
        "torchao_quantizes_before_adapters_fuse",
        lambda c: (
            (c["lora"] == "fused" or c["lcm_lora"] != "none")
            and any(str(c[name]).startswith("torchao") for name in QUANTIZATIONS)
        ),
        because="torchao quantizes while the weights load, and peft does not fuse adapters into its tensors",
        source="a run with peft 0.21 and torchao 0.18: UnboundLocalError in `Linear.merge`",
    ),
    Rule(
        "int4_takes_no_adapters",
        lambda c: any(str(c[name]).startswith("torchao_int4") for name in QUANTIZATIONS),
        because="peft attaches adapters to torchao's int8 and fp8 weights, and not to int4",
        source="peft 0.21, tuners/lora/torchao.py: `_check_dtype_supported`",
        adapted=True,
    ),
    Rule(
        "openvino_fuses_adapters",
        lambda c: c["compile"] == "openvino" and c["lora"] != "attached",
        because="OpenVINO is given weights with the adapters in them, which is all that it can do with them",
        source="openvino.convert_model makes constants of weights",
    ),
    Rule(
        "hotswap_needs_compile",
        lambda c: c["lora"] == "hotswap" and c["compile"] == "none",
        because="what is not compiled need not be compiled again, so adapters can be exchanged without padding",
        source="https://huggingface.co/docs/diffusers/using-diffusers/loading_adapters (hotswapping)",
    ),
    Rule(
        "hotswap_needs_plain_weights",
        lambda c: c["lora"] == "hotswap" and _torch_quantized(c["quantization"]),
        because="swapping writes into the adapter's own tensors, and was only seen to work beside plain weights",
        source="peft 0.21, utils/hotswap.py",
    ),
    Rule(
        "adapters_fit_the_whole_denoiser",
        lambda c: c["small_denoiser"] is True and c["lcm_lora"] != "none",
        because="an adapter for the whole denoiser has parts for blocks that the small one lacks, which would be lost",
        source="peft 0.21, utils/save_and_load.py: unexpected keys are left out",
    ),
    Rule(
        "the_users_adapters_fit_the_whole_denoiser",
        lambda c: c["small_denoiser"] is True,
        because="an adapter for the whole denoiser has parts for blocks that the small one lacks, which would be lost",
        source="peft 0.21, utils/save_and_load.py: unexpected keys are left out",
        adapted=True,
    ),
    Rule(
        "few_steps_are_not_guided",
        lambda c: c["lcm_lora"] != "none" and c["guidance_cutoff"] != 1.0,
        because="an LCM adapter runs without guidance, so there is none to cut off",
        source="arXiv:2311.05556",
    ),
    Rule(
        "few_steps_share_no_features",
        lambda c: c["lcm_lora"] != "none" and c["feature_cache"] != "none",
        because="with so few steps, neighbouring ones differ too much to share features",
        source="the same limit as that of feature_cache on the steps of a workload",
    ),
)


def refusal(choices: Choices, *, adapted: bool = False) -> Rule | None:
    """Return the first rule that these choices break, None where they break none.

    adapted: whether the user has named adapters.
    """
    return next((rule for rule in RULES if (adapted or not rule.adapted) and rule.broken_by(choices)), None)
