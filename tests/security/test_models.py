"""Model folders that would run code: refused with a sentence, or loaded without a line of it being run."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import ModelError
from autotune.planner.catalogue import find_model
from autotune.planner.hub.listing import File, refuse_own_code, refuse_unusable
from autotune.probes.model import Component, read_model
from autotune.search.trial.process import trial_environment

from ..folders import WEIGHTS, write_json, write_model

REFUSED = (
    *("a class of its own", "a library of its own", "a library by path", "code beside a component", "pickled weights"),
    *("None.py", "a component that leads out", "a class that is an attribute"),
)


class Bomb:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self._canary, "boom")


def code(canary: Path) -> str:
    return f"import pathlib\npathlib.Path({str(canary)!r}).write_text('boom')\nclass Mine: pass\nclass None_: pass\n"


def changed(file: Path, **content: Any) -> None:
    write_json(file, json.loads(file.read_text()) | content)


def pickled(folder: Path, canary: Path) -> None:
    (folder / "unet" / WEIGHTS).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(canary)))


def led_out(folder: Path, canary: Path) -> None:
    outside = canary.parent / "outside"
    (folder / "unet").rename(outside)
    (folder / "unet").symlink_to(outside)


def code_beside(name: str) -> Callable[[Path, Path], object]:
    return lambda folder, canary: (folder / name).write_text(code(canary))


WAYS: dict[str, Callable[[Path, Path], object]] = {
    "a class of its own": lambda folder, _: changed(folder / "model_index.json", _class_name=["pipeline", "Mine"]),
    "a library of its own": lambda folder, _: changed(folder / "model_index.json", unet=["mine", "Mine"]),
    "a library by path": lambda folder, _: changed(folder / "model_index.json", unet=["../../mine", "Mine"]),
    "a class that is an attribute": lambda folder, _: changed(
        folder / "model_index.json", unet=["diffusers", "utils.import_utils.os.system"]
    ),
    "code beside a component": code_beside("unet/mine.py"),
    "None.py": code_beside("unet/None.py"),
    "pickled weights": pickled,
    "a component that leads out": led_out,
    "pipeline.py": code_beside("pipeline.py"),
    "custom_pipeline": lambda folder, _: changed(folder / "model_index.json", custom_pipeline="pipeline.py"),
    "_custom_pipeline": lambda folder, _: changed(folder / "model_index.json", _custom_pipeline="pipeline.py"),
    "auto_map": lambda folder, _: changed(folder / "unet" / "config.json", auto_map={"AutoModel": "mine.Mine"}),
    "kernels": lambda folder, _: changed(folder / "unet" / "config.json", _attn_implementation_internal="evil/kernel"),
    "a pickle beside safetensors": lambda folder, canary: (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(
        pickle.dumps(Bomb(canary))
    ),
    "sitecustomize.py": code_beside("sitecustomize.py"),
}


def hostile(tmp_path: Path, way: str) -> tuple[Path, Path]:
    """Return a model that would run code, with code lying wherever it may look, and where that would write."""
    canary = tmp_path / "canary"
    folder = write_model(tmp_path / "model")
    if way not in {"code beside a component", "None.py"}:
        for name in ("pipeline.py", "mine.py", "None.py"):
            (folder / name).write_text(code(canary))
    WAYS[way](folder, canary)
    return folder, canary


@pytest.mark.parametrize("way", WAYS)
def test_what_would_run_code_is_refused_or_not_heard(tmp_path: Path, way: str) -> None:
    folder, canary = hostile(tmp_path, way)
    if way in REFUSED:
        with pytest.raises(ModelError) as refusal:
            find_model(str(folder))
        assert str(refusal.value).endswith(".")
        assert refusal.value.exit_code == 7
    else:
        read_model(folder)
    assert not canary.exists()


LOADER = """
import sys
from pathlib import Path
from autotune.probes.model import read_model
from autotune.search.pipeline import load_pipeline
for folder in sys.argv[1:]:
    try:
        load_pipeline(read_model(Path(folder)))
    except BaseException as error:
        print(type(error).__name__)
"""


@pytest.mark.slow
def test_what_is_not_refused_is_loaded_without_its_code(tmp_path: Path) -> None:
    made = {way: hostile(tmp_path / str(number), way) for number, way in enumerate(set(WAYS) - set(REFUSED))}
    command = [sys.executable, "-c", LOADER, *(str(folder) for folder, _ in made.values())]
    subprocess.run(command, env=trial_environment(), cwd=tmp_path, check=True, timeout=300)
    assert not [way for way, (_, canary) in made.items() if canary.exists()]


@pytest.mark.parametrize("name", ["auto_map", "custom_pipeline", "_custom_pipeline"])
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "tokenizer/tokenizer_config.json"])
def test_the_hub_is_not_asked_for_weights_of_what_brings_code(name: str, file: str) -> None:
    facts = {"model_index.json": {"_class_name": "StableDiffusionPipeline"}, file: {name: "mine.Mine"}}
    facts["model_index.json"] |= {"_class_name": "StableDiffusionPipeline"}
    with pytest.raises(ModelError, match="brings code of its own"):
        refuse_own_code("org/name", facts)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pkl", ".pth"])
def test_the_hub_is_not_asked_for_pickles(suffix: str) -> None:
    part = Component(name="unet", library="diffusers", class_name="UNet2DConditionModel", parameters=1, bytes=1)
    files = [File("unet/config.json", 1, "a"), File(f"unet/diffusion_pytorch_model{suffix}", 1, "b")]
    with pytest.raises(ModelError, match=r"pickled weights|no weights"):
        refuse_unusable("org/name", files, [part])
