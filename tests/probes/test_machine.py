from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.probes.accelerators import Accelerator, Sighting
from autotune.probes.cpu import Cpu, probe_cpu
from autotune.probes.machine import Machine, probe
from autotune.probes.memory import Memory, probe_memory
from autotune.probes.software import Software, probe_software
from autotune.tests.store import samples

from .machines import GIB, MACHINES, make

GPU = Accelerator(kind="cuda", index=0, name="A100", total_bytes=80 * GIB, free_bytes=GIB, compute_capability=(8, 0))
MACHINE = samples.MACHINE.model_copy(
    update={"accelerators": (GPU,), "memory": Memory(total_bytes=64 * GIB, free_bytes=32 * GIB)}
)

counts = st.integers(0, 2**60)
some_cores = st.integers(1, 1024)
versions = st.one_of(st.none(), st.text())
machines = st.builds(
    Machine,
    cpu=st.builds(
        Cpu,
        model_name=st.text(),
        architecture=st.text(),
        allowed_cores=some_cores,
        physical_cores=st.one_of(st.none(), some_cores),
        logical_cores=some_cores,
        features=st.lists(st.text(), max_size=3).map(tuple),
    ),
    memory=st.builds(Memory, total_bytes=counts, free_bytes=counts),
    accelerators=st.lists(
        st.builds(
            Accelerator,
            kind=st.sampled_from(["cuda", "rocm", "xpu", "mps"]),
            index=st.integers(0, 15),
            name=st.text(),
            uuid_hash=versions,
            total_bytes=counts,
            free_bytes=st.one_of(st.none(), counts),
            compute_capability=st.one_of(st.none(), st.tuples(st.integers(0, 20), st.integers(0, 9))),
            driver=versions,
            mig=st.booleans(),
            unified_memory=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    software=st.builds(Software, python=st.text(), os=st.text(), versions=st.dictionaries(st.text(), st.text())),
    notes=st.lists(st.text(), max_size=2).map(tuple),
)


@given(machines)
def test_json_brings_the_same_back(machine: Machine) -> None:
    again = Machine.model_validate_json(machine.model_dump_json())
    assert again == machine
    assert again.fingerprint == machine.fingerprint


@given(machines, counts, counts)
def test_fingerprint_is_not_of_the_moment(machine: Machine, free_bytes: int, gpu_free_bytes: int) -> None:
    later = machine.model_copy(
        update={
            "memory": machine.memory.model_copy(update={"free_bytes": free_bytes}),
            "accelerators": tuple(
                gpu.model_copy(update={"free_bytes": gpu_free_bytes}) for gpu in machine.accelerators
            ),
            "software": MACHINE.software,
            "notes": ("something new",),
        }
    )
    assert later.fingerprint == machine.fingerprint
    assert later.lasting() == machine.lasting()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("cpu", {"model_name": "AMD Ryzen"}),
        ("cpu", {"architecture": "aarch64"}),
        ("cpu", {"allowed_cores": 2}),
        ("cpu", {"physical_cores": None}),
        ("cpu", {"logical_cores": 4}),
        ("cpu", {"features": ("avx2",)}),
        ("memory", {"total_bytes": 32 * GIB}),
        ("gpu", {"kind": "rocm"}),
        ("gpu", {"index": 1}),
        ("gpu", {"name": "H100"}),
        ("gpu", {"uuid_hash": "0123456789abcdef"}),
        ("gpu", {"total_bytes": 40 * GIB}),
        ("gpu", {"compute_capability": (9, 0)}),
        ("gpu", {"driver": "580.173.02"}),
        ("gpu", {"mig": True}),
        ("gpu", {"unified_memory": True}),
    ],
)
def test_every_lasting_field_is_in_the_fingerprint(part: str, change: dict[str, object]) -> None:
    if part == "gpu":
        changed = MACHINE.model_copy(update={"accelerators": (GPU.model_copy(update=change),)})
    else:
        changed = MACHINE.model_copy(update={part: getattr(MACHINE, part).model_copy(update=change)})
    assert changed.fingerprint != MACHINE.fingerprint
    assert changed.lasting() != MACHINE.lasting()


def test_table_above_names_every_lasting_field() -> None:
    lasting = MACHINE.lasting()
    assert set(lasting) == {"cpu", "memory", "accelerators"}
    assert len(lasting["cpu"]) + len(lasting["memory"]) + len(lasting["accelerators"][0]) == 16


def test_a_few_megabytes_more_for_the_kernel_are_the_same_machine() -> None:
    memory = MACHINE.memory.model_copy(update={"total_bytes": 64 * GIB - 5 * 2**20})
    assert MACHINE.model_copy(update={"memory": memory}).fingerprint == MACHINE.fingerprint


def test_lost_gpu_is_another_machine() -> None:
    assert MACHINE.model_copy(update={"accelerators": ()}).fingerprint != MACHINE.fingerprint


def silent(root: Path) -> Machine:
    return probe(
        ask_cpu=partial(probe_cpu, root, system="linux"),
        ask_memory=partial(probe_memory, root, system="linux"),
        ask_nvidia=lambda: Sighting(notes=("NVML is ill.",)),
        ask_devices=lambda: Sighting(accelerators=(GPU,), notes=("torch is ill.",)),
        ask_software=partial(probe_software, root, system="linux"),
    )


def test_notes_of_all_probes_are_kept(tmp_path: Path) -> None:
    machine = silent(tmp_path)
    assert machine.accelerators == (GPU,)
    assert machine.notes == (
        "The CPU does not tell what it is, so it is taken to have no fast instructions.",
        "The memory could not be read, so nothing is believed to fit into it.",
        "NVML is ill.",
        "torch is ill.",
    )


def test_machine_that_tells_has_nothing_to_note(tmp_path: Path) -> None:
    machine = silent(make(tmp_path, MACHINES["old pc"]))
    assert machine.notes == ("NVML is ill.", "torch is ill.")
