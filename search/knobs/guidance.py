"""Guidance cutoff: after a share of the steps, the denoiser runs without its unconditional half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..recipe import Choice

CONDITIONS: dict[str, tuple[str, ...]] = {
    "StableDiffusionPipeline": ("prompt_embeds",),
    "StableDiffusionXLPipeline": ("prompt_embeds", "add_text_embeds", "add_time_ids"),
    "StableDiffusion3Pipeline": ("prompt_embeds", "pooled_prompt_embeds"),
    "SanaPipeline": ("prompt_embeds",),
    "LTXPipeline": ("prompt_embeds",),
    "WanPipeline": (),
}
"""What each pipeline holds twice while it is guided, and hands to a callback (diffusers 0.42, `callbacks.py`).

Nothing where the halves are two calls of the denoiser: the pipeline asks before each step whether to make the second.
"""

WITH_A_MASK = ("SanaPipeline", "LTXPipeline")
"""Pipelines that hold a mask of the prompt twice as well, and hand it to no callback."""


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Guidance must be there, and decided on before each step, not once (as PixArt, CogVideoX and AuraFlow do)."""
    del choice
    if setting.workload.guidance <= 1:
        return f"a guidance of {setting.workload.guidance:g} has no unconditional half to leave out"
    if setting.card.pipeline_class not in CONDITIONS:
        return f"{setting.card.pipeline_class} lets no callback end its guidance, or not one that was tried"
    return None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Halve the mask, where there is one, once the rest of the batch is."""
    del choices
    if bench.card.pipeline_class in WITH_A_MASK:
        getattr(pipe, bench.card.denoiser.name).register_forward_pre_hook(halve_mask, with_kwargs=True)


def halve_mask(denoiser: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the denoiser the part of the mask that belongs to what is left of the batch."""
    del denoiser
    mask, states = kwargs["encoder_attention_mask"], kwargs["encoder_hidden_states"]
    return args, {**kwargs, "encoder_attention_mask": mask[-len(states) :]}


def calls(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return the callback that ends guidance, for every call of the pipeline.

    diffusers' own callbacks do this too, but keep one row where a batch has several
    (`SDCFGCutoffCallback`, `prompt_embeds[-1:]`).
    """
    names = CONDITIONS[bench.card.pipeline_class]
    return {
        "callback_on_step_end": cutoff(float(choices["guidance_cutoff"]), names),
        "callback_on_step_end_tensor_inputs": list(names),
    }


def cutoff(share: float, names: tuple[str, ...]) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    """Return the callback that ends guidance after a share of the steps. names: what the pipeline holds twice."""

    def end_guidance(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        del timestep
        if step + 1 != max(1, int(share * pipe.num_timesteps)) or not pipe.do_classifier_free_guidance:
            return {}
        pipe._guidance_scale = 0.0  # noqa: SLF001 - as diffusers' own callbacks do; each call sets it anew
        if names and hasattr(pipe, "transformer"):
            _forget(pipe.transformer)
        return {name: tensors[name].chunk(2)[-1] for name in names}

    return end_guidance


def _forget(denoiser: Any) -> None:
    """Begin anew what caches keep: it is of both halves, and of a larger batch than what comes."""
    if getattr(denoiser, "is_cache_enabled", False):
        denoiser._reset_stateful_cache()  # noqa: SLF001 - as diffusers does after a call


GUIDANCE_CUTOFF = Knob(
    name="guidance_cutoff",
    says="share of the steps that are guided; the others cost half, having no unconditional half",
    choices=(1.0, 0.75, 0.5),
    default=1.0,
    lossy=frozenset({0.75, 0.5}),
    uneven_steps=True,
    source="https://huggingface.co/docs/diffusers/using-diffusers/callback (dynamic guidance); arXiv:2404.07724",
    refuses=refuses,
    apply=apply,
    calls=calls,
)
