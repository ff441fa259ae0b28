"""A template that leaves the GPU alone, and trials of one that did not."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from autotune.probes.accelerators import Accelerator
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.recipe import UNMODIFIED
from autotune.search.trial.failure import TrialFailure
from autotune.search.trial.process import Template, trial_environment
from autotune.search.trial.untouched import CAPABILITY, told

from ..store.samples import MACHINE
from .conftest import MODULES as SEARCHED

if TYPE_CHECKING:
    from autotune.search.task import Task

MODULES = ("psutil", "tests.search.touching")


def gpu(index: int, capability: tuple[int, int] | None, kind: str = "cuda") -> Accelerator:
    return Accelerator.model_validate(
        {"kind": kind, "index": index, "name": "GPU", "total_bytes": 1, "compute_capability": capability}
    )


@pytest.mark.parametrize(
    ("accelerators", "capability"),
    [
        ((), None),
        ((gpu(0, (9, 0)),), "9.0"),
        ((gpu(0, (12, 0)), gpu(1, (12, 0))), "12.0"),
        ((gpu(0, (9, 0)), gpu(1, (8, 6))), None),
        ((gpu(0, (9, 0)), gpu(1, None)), None),
        ((gpu(0, None, "rocm"),), None),
    ],
)
def test_a_template_is_told_what_all_gpus_can(accelerators: tuple[Accelerator, ...], capability: str | None) -> None:
    assert told(MACHINE.model_copy(update={"accelerators": accelerators})).get(CAPABILITY) == capability


def test_a_trial_of_an_untouched_template_is_a_fork_of_it() -> None:
    with Template(MODULES) as template, template.fork() as trial:
        seen = trial.ask({"do": "tell"}, 60)
        assert seen["imported_by"] == template.pid
        assert seen["pid"] == trial.pid == seen["session"]


def test_a_trial_of_a_touched_template_begins_anew_in_its_place() -> None:
    with Template(MODULES, environment={"TOUCHED": "1", "CORES": "3"}) as template:
        with template.fork() as trial:
            seen = trial.ask({"do": "tell"}, 60)
            assert seen == {"imported_by": trial.pid, "pid": trial.pid, "session": trial.pid, "cores": "3"}
            assert not psutil.Process(trial.pid).children()
        assert not psutil.pid_exists(trial.pid)
        with template.fork() as other, pytest.raises(TrialFailure, match="do_nothing"):
            other.ask({"do": "nothing"}, 60)


@pytest.mark.slow
def test_a_trial_that_begins_anew_measures_as_any_other(task: Task) -> None:
    found = []
    for more in ((), ("autotune.tests.search.touched",)):
        with IsolatedEvaluator(task, (*SEARCHED, *more), 600 * 2**20) as evaluator:
            found.append(evaluator.evaluate(0, UNMODIFIED, math.inf, time.monotonic() + 300))
    forked, anew = found
    assert (forked.outcome, anew.outcome) == ("ok", "ok"), anew.detail
    assert forked.weights_bytes == anew.weights_bytes
    assert forked.peak_memory_bytes
    assert anew.peak_memory_bytes
    assert 0.5 < anew.peak_memory_bytes / forked.peak_memory_bytes < 2, "the libraries are no recipe's"


IMPORTS = """
import sys, traceback
import torch

def touched(*_, **__):
    print("TOUCHED", *traceback.format_stack(limit=6))
    return 1

def refused(*_, **__):
    touched()
    raise RuntimeError("the device was touched")

torch._C._cuda_getDeviceCount = touched
torch._C._cuda_getCurrentRawStream = touched
torch.version.cuda = "12.8"
torch.cuda._device_count_nvml = lambda: 1
torch.cuda._lazy_init = refused

from autotune.search.trial.untouched import untouched
ask = torch.cuda.get_device_capability
with untouched():
    assert torch.cuda.is_available()
    import bitsandbytes, torchao.quantization
    from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5EncoderModel
    assert torch.cuda.get_device_capability(0) == (9, 0)
assert torch.cuda.get_device_capability is ask
print("imported", "peft" in sys.modules, "torchao.prototype.mx_formats.kernels" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_told", [True, False])
def test_what_a_template_imports_does_not_touch_a_gpu(*, is_told: bool) -> None:
    """The driver is scripted: a torch for the CPU that says it was built for CUDA, and tells what it is asked."""
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("torchao")
    environment = trial_environment({CAPABILITY: "9.0"} if is_told else None)
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2] / ".dev"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if is_told:
        assert "imported True True" in done.stdout, done.stderr
        assert "TOUCHED" not in done.stdout
    else:
        assert "TOUCHED" in done.stdout, "it takes being told: else this test could not fail"
