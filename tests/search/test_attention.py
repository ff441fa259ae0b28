"""Attention kernels: what is offered is what ran in a process of its own, and only where the denoiser asks for one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from autotune.probes import attention as probe
from autotune.probes.child import Answer
from autotune.search.knobs.attention import ATTENTION, BACKENDS, HALF, MASKING, UNMASKED
from autotune.search.space import space_for

from .test_space import setting_of

if TYPE_CHECKING:
    from autotune.probes.machine import Machine
    from autotune.search.knobs import Setting


def asking(machine: Machine, class_name: str, found: dict[str, str]) -> Setting:
    """Return a setting with a denoiser of that class, in which kernels answer as told."""
    setting = setting_of(machine, unet=False)
    denoiser = setting.card.denoiser.model_copy(update={"class_name": class_name})
    card = setting.card.model_copy(update={"components": (denoiser,)})
    return replace(setting, card=card, kernels=lambda _: found)


def test_what_ran_is_offered_and_what_did_not_is_refused_with_what_was_found(machine: Machine) -> None:
    found = {"_native_math": "", "flex": "", "sage": "needs sageattention", "_native_cudnn": "no viable backend"}
    space = space_for(asking(machine, "FluxTransformer2DModel", found))
    assert space.choices["attention"] == ("default", "eager", "flex")
    assert space.refused["attention", "sage"] == "needs sageattention"
    assert space.refused["attention", "native_cudnn"] == "no viable backend"
    assert "no such kernel" in space.refused["attention", "xformers"]
    assert not any(name.endswith("hub") for name in BACKENDS.values()), "these download code"


def test_who_gives_a_mask_is_refused_the_kernels_that_take_none(machine: Machine) -> None:
    every = dict.fromkeys(BACKENDS.values(), "")
    assert set(space_for(asking(machine, "WanTransformer3DModel", every)).choices["attention"]) == set(
        ATTENTION.choices
    )
    masked = space_for(asking(machine, MASKING[0], every))
    assert set(ATTENTION.choices) - set(masked.choices["attention"]) == UNMASKED


def test_where_nothing_could_be_asked_nothing_is_offered(machine: Machine) -> None:
    space = space_for(asking(machine, "FluxTransformer2DModel", {"*": "the process crashed (SIGSEGV)"}))
    assert space.choices["attention"] == ("default",)
    assert "SIGSEGV" in space.refused["attention", "eager"]


def test_a_denoiser_that_asks_nobody_starts_no_process(machine: Machine) -> None:
    def asked(_: str) -> Any:
        pytest.fail("a process was started for nothing")

    for unet in (True, False):
        assert space_for(replace(setting_of(machine, unet=unet), kernels=asked)).choices["attention"][0] == "default"


def test_a_child_that_dies_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ask_child", lambda *_, **__: Answer("", "crashed (SIGILL)"))
    assert probe.attention_kernels.__wrapped__("cpu") == {
        "*": "the process that tries attention kernels crashed (SIGILL)"
    }


def test_names_are_the_installed_dispatchers() -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    known = {each.value for each in AttentionBackendName}
    assert set(BACKENDS.values()) <= known
    half = {
        name
        for name, backend in BACKENDS.items()
        for check in _AttentionBackendRegistry._constraints[AttentionBackendName(backend)]
        if check.__name__ == "_check_qkv_dtype_bf16_or_fp16"
    }
    assert half - {"native_flash"} == HALF


@pytest.mark.slow
def test_on_this_cpu() -> None:
    """torch's own kernels for a CPU run; CUDA's do not, and each says why."""
    found = probe.attention_kernels("cpu")
    assert {name for name, problem in found.items() if not problem} >= {"native", "_native_math", "_native_flash"}
    assert found["_native_cudnn"]
    assert not any(name.endswith("_hub") for name in found)
