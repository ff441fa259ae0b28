"""The examples of docs/apps: they run, with a pipeline that paints at once where no real one is needed."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import autotune
from autotune.search.knobs import KNOBS

from .family import keep

FOLDER = Path(__file__).parents[2] / "docs" / "apps"


def example(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules[name] = module  # where FastAPI looks up what annotations name
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What examples ask of a pipeline that paints at once."""
    made: list[tuple[Any, ...]] = []

    def load(model: str) -> Any:
        def paint(prompt: str, generator: Any = None) -> Any:
            made.append((model, prompt, generator.initial_seed() if generator else None))
            return SimpleNamespace(images=[Image.new("RGB", (8, 8), "red")])

        paint.answer = SimpleNamespace(reason="Fastest of 2.", apply={"precision": "bf16"})  # type: ignore[attr-defined]
        return paint

    monkeypatch.setattr(autotune, "load", load)
    return made


def test_the_service_paints(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "mine")
    with TestClient(example("fastapi_service").app) as client:
        response = client.post("/images", json={"prompt": "a star", "seed": 7})
        assert response.headers["content-type"] == "image/png"
        assert Image.open(BytesIO(response.content)).size == (8, 8)
        assert client.post("/images", json={"prompt": ""}).status_code == 422
        assert client.get("/plan").json() == {"reason": "Fastest of 2.", "recipe": {"precision": "bf16"}}
    assert calls == [("mine", "a star", 7)]


def test_the_script_saves_what_it_paints(
    calls: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example("diffusers_script").main("a star")
    with Image.open(tmp_path / "image-0.png") as image:
        assert image.size == (8, 8)
    assert calls == [("shapes", "a star", None)]
    assert capsys.readouterr().err == "Fastest of 2.\n"


def test_the_page_paints(calls: list[tuple[Any, ...]]) -> None:
    image, said = example("gradio_app").painter("shapes")("a star", 3.0)
    assert (image.size, said) == ((8, 8), "Fastest of 2.")
    assert calls == [("shapes", "a star", 3)]


@pytest.mark.slow
def test_the_service_paints_with_a_real_pipeline() -> None:
    with TestClient(example("fastapi_service").app) as client:
        first, again = (client.post("/images", json={"prompt": "a small green star"}).content for _ in range(2))
        assert Image.open(BytesIO(first)).size == (128, 128)
        assert first == again


def test_what_to_set_in_comfyui_is_printed(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    keep()
    example("comfyui").main("shapes", live)
    said = capsys.readouterr().out.splitlines()
    assert "precision=bf16: start it with --bf16-unet --bf16-text-enc" in said
    assert "KSampler: steps 20" in said
    assert any(line.startswith("Empty Latent Image: width ") for line in said)


def test_what_comfyui_is_told_of_are_knobs_and_their_choices() -> None:
    choices = {knob.name: {*knob.choices} for knob in KNOBS}
    assert all(choice in choices[knob] for knob, choice in example("comfyui").SET)
