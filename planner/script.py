"""A plan as a diffusers script that anybody can read and run: autotune is not in it.

It makes the image that `autotune.load` makes, byte for byte. What is autotune's own code (graphs for OpenVINO, files in
GGUF, caches of features) cannot be said in a few lines: such a plan is not exported, and `why_not` says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..search.assemble import choices_of
from ..search.knobs.attention import BACKENDS
from ..search.knobs.guidance import CONDITIONS, WITH_A_MASK
from ..search.knobs.inductor import MODES, SHAPES, regions_of
from ..search.knobs.text_encoder_quantization import encoders
from ..search.knobs.threads import wanted
from ..search.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..probes.model import Component
    from ..search.knobs import Bench, Choices

DTYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16", "tf32": "torch.float32"}

TORCHAO = {
    "torchao_int8_weight_only": "Int8WeightOnlyConfig",
    "torchao_int8_dynamic": "Int8DynamicActivationInt8WeightConfig",
    "torchao_fp8_weight_only": "Float8WeightOnlyConfig",
    "torchao_fp8_dynamic": "Float8DynamicActivationFloat8WeightConfig",
}
"""The kinds of torchao that quantize all linear layers while they load, with no option."""

OURS = {
    "tiny_vae": "a distilled component takes the place of another",
    "small_denoiser": "a distilled component takes the place of another",
    "lcm_lora": "an adapter is fused into the weights",
    "lora": "adapters are added to the weights",
    "vae_precision": "the VAE's inputs are cast by code of autotune",
    "feature_cache": "features are cached by code of autotune, or as it has calibrated",
    "vae_quantization": "the VAE is stored or converted by code of autotune",
}
"""The knobs that no script turns, and why."""


@dataclass
class Script:
    """The parts of a script, as knobs add to them. Each text is a line, or an argument."""

    imports: set[str] = field(default_factory=lambda: {"import torch"})
    notes: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    loading: list[str] = field(default_factory=list)
    quantized: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    calling: list[str] = field(default_factory=list)


def why_not(recipe: Recipe, bench: Bench) -> str:
    """Return why a recipe cannot be written as a script, without the recipe's name; nothing where it can."""
    if bench.added.adapters:
        return "adapters are added to the weights"
    if any(component.folder for component in bench.card.components):
        return "a component is loaded from another folder"
    for name, choice in recipe.turned.items():
        because = _why_not(name, str(choice), bench)
        if because:
            return f"{name}={choice}: {because}"
    return ""


def _why_not(name: str, choice: str, bench: Bench) -> str:
    if choice in {"none", "default", "same", "attached", "False"}:
        return ""
    quantizes = name in {"quantization", "text_encoder_quantization"}
    ends_guidance = bench.card.pipeline_class not in WITH_A_MASK and bool(_conditions(bench))
    reasons = (
        (name in OURS, OURS.get(name, "")),
        (quantizes and not _quantizes(choice, bench.device), "weights are quantized by code of autotune"),
        (choice == "openvino", "graphs are converted for OpenVINO by code of autotune"),
        (name == "offload" and choice not in {"model", "sequential"}, "parts are offloaded by code of autotune"),
        (name == "guidance_cutoff" and not ends_guidance, "guidance is ended by code of autotune"),
        (name not in _WRITERS and name not in _READ_BY_OTHERS, "no script is known for it"),
    )
    return next((because for applies, because in reasons if applies), "")


def _quantizes(kind: str, device: str) -> bool:
    return kind in TORCHAO or (kind.startswith("bnb") and device != "cpu")


def write(recipe: Recipe, bench: Bench, call: Mapping[str, Any], environment: Mapping[str, str], title: str) -> str:
    """Return the script of a recipe for which `why_not` says nothing.

    call: keyword arguments of the pipeline's call; environment: what the program must be started with.
    title: what the script's first line says.
    """
    choices, script = choices_of(recipe), Script()
    script.imports.add(f"from diffusers import {bench.card.pipeline_class}")
    script.notes += [f"Start it with {name}={value}" for name, value in environment.items()]
    for name, writer in _WRITERS.items():
        if name in recipe.turned or name in _ALWAYS:
            writer(script, choices, bench)
    script.calling += [f"{name}={value!r}" for name, value in call.items()]
    return _text(script, choices, bench, title)


def _text(script: Script, choices: Choices, bench: Bench, title: str) -> str:
    kind, batch = bench.card.pipeline_class, bench.workload.batch
    loading = [*script.loading, "use_safetensors=True", "local_files_only=True"]
    if script.quantized:
        script.imports.add("from diffusers import PipelineQuantizationConfig")
        mapping = ", ".join(script.quantized)
        loading.append(f"quantization_config=PipelineQuantizationConfig(quant_mapping={{{mapping}}})")
    move = [f'pipe.to("{bench.device}")'] if bench.device != "cpu" and choices["offload"] == "none" else []
    prompt = f"[prompt] * {batch}" if batch > 1 else "prompt"
    lines = [
        f'"""{title}"""',
        *(f"# {note}" for note in script.notes),
        "import sys",
        "",
        *sorted(script.imports, key=lambda line: (line.startswith("from"), line)),
        "",
        'prompt = sys.argv[1] if len(sys.argv) > 1 else "a large red circle on a blue background"',
        *script.before,
        f"pipe = {kind}.from_pretrained(",
        f"    {bench.card.folder!r},",
        *(f"    {argument}," for argument in loading),
        ")",
        *move,
        *script.after,
        "result = pipe(",
        f"    prompt={prompt},",
        "    generator=torch.Generator().manual_seed(0),",
        *(f"    {argument}," for argument in script.calling),
        ")",
        *_saving(bench),
    ]
    return "\n".join(lines) + "\n"


def _saving(bench: Bench) -> list[str]:
    if bench.workload.frames > 1:
        return ["from diffusers.utils import export_to_video", 'export_to_video(result.frames[0], "video.mp4")']
    return [
        "for number, image in enumerate(result.images):",
        '    image.save(f"image-{number}.png")',
    ]


def _precision(script: Script, choices: Choices, bench: Bench) -> None:
    del bench
    precision = str(choices["precision"])
    script.loading.append(f"dtype={DTYPES[precision]}")
    if precision == "tf32":
        script.before += ["torch.backends.cuda.matmul.allow_tf32 = True", "torch.backends.cudnn.allow_tf32 = True"]


def _threads(script: Script, choices: Choices, bench: Bench) -> None:
    del bench
    script.before.append(f"torch.set_num_threads({wanted(choices)})")


def _memory_format(script: Script, choices: Choices, bench: Bench) -> None:
    del choices, bench
    script.after += [f"pipe.{name}.to(memory_format=torch.channels_last)" for name in ("unet", "vae")]


def _fuse_qkv(script: Script, choices: Choices, bench: Bench) -> None:
    del choices
    if bench.card.has("unet"):
        vae = bench.card.component("vae")
        script.after.append(f"pipe.fuse_qkv_projections(vae={bool(vae and vae.class_name == 'AutoencoderKL')})")
    else:
        names = [name for name in ("transformer", "transformer_2") if bench.card.has(name)]
        script.after += [f"pipe.{name}.fuse_qkv_projections()" for name in names]


def _attention(script: Script, choices: Choices, bench: Bench) -> None:
    from ..probes.classes import abilities

    choice, denoiser = str(choices["attention"]), f"pipe.{bench.card.denoiser.name}"
    if abilities(bench.card.denoiser.class_name).dispatches:
        script.after.append(f'{denoiser}.set_attention_backend("{BACKENDS[choice]}")')
    elif choice == "xformers":
        script.after.append(f"{denoiser}.enable_xformers_memory_efficient_attention()")
    else:
        script.imports.add("from diffusers.models.attention_processor import AttnProcessor")
        script.after.append(f"{denoiser}.set_attn_processor(AttnProcessor())")


def _quantization(script: Script, choices: Choices, bench: Bench) -> None:
    _quantized(script, str(choices["quantization"]), [bench.card.denoiser], bench)


def _text_encoder_quantization(script: Script, choices: Choices, bench: Bench) -> None:
    _quantized(script, str(choices["text_encoder_quantization"]), encoders(bench.card), bench)


def _quantized(script: Script, kind: str, components: list[Component], bench: Bench) -> None:
    for component in components:
        script.imports.add(f"import {component.library}")
        if kind in TORCHAO:
            from ..search.knobs import torchao

            script.imports.add(f"from torchao.quantization import {TORCHAO[kind]}")
            left = torchao.config(kind, component, bench).modules_to_not_convert
            kept = f", modules_to_not_convert={left!r}" if left else ""
            how = f"TorchAoConfig({TORCHAO[kind]}(){kept})"
        elif kind == "bnb_int8":
            how = "BitsAndBytesConfig(load_in_8bit=True)"
        else:
            how = (
                f'BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="{kind.removeprefix("bnb_")}", '
                f"bnb_4bit_compute_dtype=torch.bfloat16)"
            )
        script.quantized.append(f'"{component.name}": {component.library}.{how}')


def _tome(script: Script, choices: Choices, bench: Bench) -> None:
    del bench
    script.imports.add("import tomesd")
    script.after += [
        'has_attention = ["Attn" in kind for kind in pipe.unet.config.down_block_types]',
        "first = has_attention.index(True) if any(has_attention) else 0",
        f"tomesd.apply_patch(pipe, ratio={choices['tome_ratio']}, max_downsample=2**first, use_rand=False)",
    ]


def _vae_tiling(script: Script, choices: Choices, bench: Bench) -> None:
    del bench
    script.after.append(f"pipe.vae.enable_{choices['vae_tiling']}()")


def _offload(script: Script, choices: Choices, bench: Bench) -> None:
    script.after.append(f'pipe.enable_{choices["offload"]}_cpu_offload(device="{bench.device}")')


def _compile(script: Script, choices: Choices, bench: Bench) -> None:
    choice, shapes, denoiser = str(choices["compile"]), str(choices["compile_shapes"]), bench.card.denoiser
    if shapes == "dynamic":
        script.before.append("torch.fx.experimental._config.use_duck_shape = False")
    if choice == "regional":
        script.before.append("torch._dynamo.config.recompile_limit = 64")
        script.after += [
            f"for module in pipe.{denoiser.name}.modules():",
            f"    if type(module).__name__ in {regions_of(denoiser.class_name)!r}:",
            f"        module.compile(dynamic={SHAPES[shapes]})",
        ]
    else:
        mode = MODES.get(choice)
        script.after.append(f"pipe.{denoiser.name}.compile(mode={mode!r}, dynamic={SHAPES[shapes]})")


def _guidance(script: Script, choices: Choices, bench: Bench) -> None:
    share = float(choices["guidance_cutoff"])
    script.after += [
        "def end_guidance(pipe, step, timestep, tensors):  # the last steps run without the unconditional half",
        f"    if step + 1 != max(1, int({share} * pipe.num_timesteps)) or not pipe.do_classifier_free_guidance:",
        "        return {}",
        "    pipe._guidance_scale = 0.0",
        "    return {name: tensor.chunk(2)[-1] for name, tensor in tensors.items()}",
    ]
    names = list(_conditions(bench))
    script.calling += ["callback_on_step_end=end_guidance", f"callback_on_step_end_tensor_inputs={names!r}"]


def _conditions(bench: Bench) -> tuple[str, ...]:
    return CONDITIONS.get(bench.card.pipeline_class, ())


def _vae_compile(script: Script, choices: Choices, bench: Bench) -> None:
    del choices, bench
    script.after.append("pipe.vae.decoder.compile()")


_WRITERS: dict[str, Callable[[Script, Choices, Bench], None]] = {
    "precision": _precision,
    "threads": _threads,
    "memory_format": _memory_format,
    "fuse_qkv": _fuse_qkv,
    "attention": _attention,
    "quantization": _quantization,
    "text_encoder_quantization": _text_encoder_quantization,
    "tome_ratio": _tome,
    "vae_tiling": _vae_tiling,
    "offload": _offload,
    "compile": _compile,
    "guidance_cutoff": _guidance,
    "vae_compile": _vae_compile,
}
"""What writes each knob, in the order in which they are turned."""

_ALWAYS = {"precision"}
_READ_BY_OTHERS = {"compile_shapes", "allocator", "huge_pages"}
