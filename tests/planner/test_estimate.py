"""What would fit on machines that are not here: a plan for each, sensible and explained, before anything has run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.planner.catalogue import find_model
from autotune.planner.estimate import Estimate, Experience, estimate
from autotune.planner.predict import Lessons, Shape
from autotune.planner.shape import known_shape
from autotune.probes.accelerators import Accelerator
from autotune.probes.cpu import Cpu
from autotune.probes.machine import Machine
from autotune.probes.memory import Memory
from autotune.probes.software import Software
from autotune.search.recipe import UNMODIFIED, Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

GIB = 2**30
NAMES = ("torch", "diffusers", "transformers", "torchao", "bitsandbytes", "gguf", "openvino", "nncf", "accelerate")


def machine(
    ram_gib: float, *gpus: tuple[float, tuple[int, int]], unified: bool = False, features: Sequence[str] = ()
) -> Machine:
    """Return a machine with so much RAM, nearly all of it free, and GPUs of so many GiB and such capabilities."""
    ram = int(ram_gib * GIB)
    return Machine(
        cpu=Cpu(
            model_name="made up",
            architecture="x86_64",
            features=tuple(features),
            logical_cores=8,
            physical_cores=8,
            allowed_cores=8,
        ),
        memory=Memory(total_bytes=ram, free_bytes=int(0.9 * ram)),
        accelerators=tuple(
            Accelerator(
                kind="cuda",
                index=index,
                name=f"GPU of {gib:g} GiB",
                total_bytes=int(gib * GIB),
                free_bytes=int(0.96 * gib * GIB),
                compute_capability=capability,
                unified_memory=unified,
            )
            for index, (gib, capability) in enumerate(gpus)
        ),
        software=Software(
            python="3.11", os="Linux", versions=dict.fromkeys(NAMES, "1"), cxx_compiler="g++", allocators={}
        ),
        notes=(),
    )


BOTH = ("quantization", "text_encoder_quantization")
AMPERE, ADA, HOPPER = (8, 6), (8, 9), (9, 0)
LAPTOP_8 = machine(16, (8, ADA))
MACHINES = {
    "laptop with 8 GB": LAPTOP_8,
    "12 GB": machine(32, (12, AMPERE)),
    "16 GB": machine(32, (16, ADA)),
    "24 GB": machine(64, (24, AMPERE)),
    "48 GB": machine(128, (48, AMPERE)),
    "80 GB": machine(256, (80, HOPPER)),
    "two of 24 GB": machine(64, (24, AMPERE), (24, AMPERE)),
    "16 GB unified": machine(16, (16, ADA), unified=True),
    "CPU with 32 GB": machine(32),
    "CPU with 8 GB": machine(8),
}


def asked(name: str, of: Machine, max_bytes: int | None = None) -> Estimate:
    model = find_model(name)
    shape = known_shape(model.card, model.workload)
    assert shape is not None
    return estimate(shape, of, model.workload, max_bytes)


def best(name: str, of: Machine) -> dict[str, object]:
    option = asked(name, of).best
    return dict(option.recipe.turned) if option else {}


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_said_to_fit_fits(name: str) -> None:
    found = asked("flux-dev", MACHINES[name])
    for option in found.options:
        if option.fits:
            assert option.need.peak_bytes < found.free_bytes
            assert option.need.host_bytes <= found.free_host_bytes
        assert option.need.low_bytes <= option.need.peak_bytes <= option.need.high_bytes
        assert option.because


def test_flux_dev_from_a_laptop_to_a_data_centre() -> None:
    assert best("flux-dev", LAPTOP_8)["quantization"] == "bnb_nf4"
    assert best("flux-dev", LAPTOP_8)["offload"] == "model"
    assert best("flux-dev", MACHINES["12 GB"])["offload"] == "model"
    assert best("flux-dev", MACHINES["16 GB"])["quantization"] == "torchao_int8_weight_only"
    assert best("flux-dev", MACHINES["24 GB"]).get("offload") is None
    assert best("flux-dev", MACHINES["48 GB"]) == {"precision": "bf16", "compile": "regional"}
    assert best("flux-dev", MACHINES["80 GB"]) == {"precision": "bf16", "compile": "regional"}


def test_a_small_model_needs_none_of_that() -> None:
    assert best("sd15", LAPTOP_8) == {"precision": "bf16", "compile": "regional"}
    assert best("sd15", MACHINES["CPU with 32 GB"]) == {"compile": "openvino"}
    assert best("sd15", machine(32, features=("avx512_bf16",))) == {"compile": "openvino", "precision": "bf16"}


def test_a_cpu_with_too_little_is_told_so() -> None:
    found = asked("flux-dev", MACHINES["CPU with 8 GB"])
    assert found.best is None
    assert min(option.need.peak_bytes for option in found.options) > found.free_bytes


def test_of_two_gpus_the_first_is_used_and_that_is_said() -> None:
    found = asked("flux-dev", MACHINES["two of 24 GB"])
    assert best("flux-dev", MACHINES["two of 24 GB"]) == best("flux-dev", MACHINES["24 GB"])
    assert found.notes == ("Of 2 accelerators the first is used; CUDA_VISIBLE_DEVICES chooses another.",)


def test_unified_memory_is_what_the_ram_has() -> None:
    found = asked("sdxl", MACHINES["16 GB unified"])
    assert found.free_bytes == int(0.9 * 16 * GIB)


def test_a_limit_goes_before_what_is_free() -> None:
    whole, limited = asked("flux-dev", MACHINES["80 GB"]), asked("flux-dev", MACHINES["80 GB"], 8 * GIB)
    assert (whole.free_bytes > 70 * GIB, limited.free_bytes) == (True, 8 * GIB)
    assert limited.best is not None
    assert limited.best.need.peak_bytes < 8 * GIB


def test_what_a_machine_cannot_do_is_left_out_with_its_reason() -> None:
    old = machine(64, (24, (7, 5)))
    found = asked("flux-dev", old)
    assert "8.0" in found.refused["precision=bf16"]
    assert found.best is not None
    assert found.best.recipe.turned == {**dict.fromkeys(BOTH, "torchao_int8_weight_only"), "precision": "fp16"}


def test_what_ran_here_is_not_predicted() -> None:
    model = find_model("sd15")
    shape = known_shape(model.card, model.workload)
    assert shape is not None
    measured = Experience(Lessons(), {UNMODIFIED: 5 * GIB})
    found = estimate(shape, MACHINES["CPU with 32 GB"], model.workload, None, measured)
    known = {option.recipe: (option.known, option.need.peak_bytes) for option in found.options}
    assert known[UNMODIFIED][0] == "measured"
    assert known[UNMODIFIED][1] == pytest.approx(5 * GIB, rel=1e-6)
    assert known[Recipe(turned={"compile": "openvino"})][0] == "predicted"


def test_without_a_rehearsal_it_says_that_weights_are_all_it_knows() -> None:
    model = find_model("flux-dev")
    shape = known_shape(model.card, model.workload)
    assert shape is not None
    found = estimate(Shape(shape.card, shape.layers, ()), MACHINES["24 GB"], model.workload)
    assert "these are its weights alone" in found.notes[0]
