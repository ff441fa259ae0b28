"""Adapters as a user names them: what is one, what is not, and that the same content is the same adapter."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from autotune.errors import AutotuneError, ModelError, UsageError
from autotune.probes.adapter import read_adapter


def write(file: Path, *, rank: int = 4, name: str = "unet.to_q", seed: int = 0) -> Path:
    chance = np.random.default_rng(seed)
    tensors = {f"{name}.lora_A.weight": (rank, 8), f"{name}.lora_B.weight": (8, rank)}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: chance.normal(size=shape).astype(np.float32) for key, shape in tensors.items()}, file)
    return file


def test_a_file_or_the_folder_that_holds_it(tmp_path: Path) -> None:
    file = write(tmp_path / "style" / "weights.safetensors", rank=6)
    found = read_adapter(str(file))
    assert (found.file, found.scale, found.rank, found.text) == (str(file.resolve()), 1.0, 6, False)
    assert read_adapter(str(file.parent)) == found
    assert read_adapter(f"{file.parent}:0.25").scale == 0.25
    assert read_adapter(str(read_adapter(f"{file}:-1.5"))) == read_adapter(f"{file}:-1.5")


@pytest.mark.parametrize(
    ("name", "text"),
    [("text_encoder.q_proj", True), ("lora_te_layers_0", True), ("lora_te1_layers_0", True), ("lora_unet_down", False)],
)
def test_whether_a_text_encoder_has_some_of_it(tmp_path: Path, name: str, *, text: bool) -> None:
    assert read_adapter(str(write(tmp_path / "a.safetensors", name=name))).text is text


def test_it_is_its_content_and_its_scale_wherever_it_lies(tmp_path: Path) -> None:
    here, there = write(tmp_path / "a.safetensors"), write(tmp_path / "b" / "other name.safetensors")
    other = write(tmp_path / "c.safetensors", seed=1)
    assert read_adapter(str(here)).key == read_adapter(f"{there}:1").key
    assert read_adapter(str(here)).key != read_adapter(str(other)).key
    assert read_adapter(str(here)).key != read_adapter(f"{here}:0.5").key


def test_a_colon_may_be_in_the_name(tmp_path: Path) -> None:
    file = write(tmp_path / "v1:2.safetensors")
    assert read_adapter(str(file)).file == str(file.resolve())
    folder = write(tmp_path / "style:0.5" / "a.safetensors").parent
    assert read_adapter(str(folder)).scale == 1.0
    assert read_adapter(f"{folder}:0.25").scale == 0.25


def _pickle(file: Path) -> Path:
    file.write_bytes(pickle.dumps({"lora_A": [1.0]}))
    return file


def _two(folder: Path) -> Path:
    write(folder / "a.safetensors")
    return write(folder / "b.safetensors").parent


def _no_lora(file: Path) -> Path:
    save_file({"conv.weight": np.zeros((2, 2), np.float32)}, file)
    return file


def _cut(file: Path) -> Path:
    write(file).write_bytes(file.read_bytes()[:-8])
    return file


def _strange(file: Path) -> Path:
    header = json.dumps({"a.lora_A.weight": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return file


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (lambda at: at / "none.safetensors", ModelError, "There is no adapter at"),
        (lambda at: f"{at / 'none.safetensors'}:0.5", ModelError, "none.safetensors: a .safetensors file"),
        (lambda at: _pickle(at / "a.bin"), ModelError, "is a pickle, which can run code"),
        (lambda at: _pickle(at / "a.pt").parent, ModelError, "is a pickle (a.pt)"),
        (lambda at: at, ModelError, "holds 0 .safetensors files"),
        (lambda at: _two(at / "two"), ModelError, "holds 2 .safetensors files"),
        (lambda at: _no_lora(at / "a.safetensors"), ModelError, "holds no LoRA"),
        (lambda at: _strange(at / "a.safetensors"), ModelError, "holds no LoRA"),
        (lambda at: _cut(at / "a.safetensors"), ModelError, "is cut short"),
        (lambda at: f"{write(at / 'a.safetensors')}:much", UsageError, "is a number"),
        (lambda at: f"{write(at / 'a.safetensors')}:", UsageError, "is a number"),
        (lambda at: f"{write(at / 'a.safetensors')}:nan", UsageError, "finite number other than 0"),
        (lambda at: f"{write(at / 'a.safetensors')}:inf", UsageError, "finite number other than 0"),
        (lambda at: f"{write(at / 'a.safetensors')}:0", UsageError, "finite number other than 0"),
        (lambda _: "", ModelError, "holds"),
        (lambda _: "\0", UsageError, "is no path"),
        (lambda _: "~nobody-here/a.safetensors", UsageError, "is no path"),
    ],
)
def test_what_is_no_adapter_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: object, kind: type[AutotuneError], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as refused:
        read_adapter(str(text(tmp_path)))  # type: ignore[operator]  # a function of the folder
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
