"""A model is known from its files alone: nothing of it is run, and what would have to be is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autotune.errors import ModelError
from autotune.probes.model import ModelCard, read_model, revision_of

from ..folders import WEIGHTS, write_json, write_model, write_weights

UNET = f"unet/{WEIGHTS}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def test_a_folder_says_what_the_model_is(folder: Path) -> None:
    card = read_model(folder)

    assert (card.name, card.folder, card.pipeline_class) == ("model", str(folder), "StableDiffusionPipeline")
    assert [(part.name, part.library, part.class_name) for part in card.components] == [
        ("scheduler", "diffusers", "DDIMScheduler"),
        ("unet", "diffusers", "UNet2DConditionModel"),
        ("vae", "diffusers", "AutoencoderKL"),
    ]
    assert [(part.parameters, part.bytes) for part in card.components] == [(0, 0), (10, 40), (8, 32)]
    assert card.denoiser.name == "unet"
    assert card.has("vae")
    assert not card.has("safety_checker")
    assert card.native_pixels == 64
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_it_can_be_given_a_name(folder: Path) -> None:
    assert read_model(folder, "shapes").name == "shapes"


def test_a_transformer_is_a_denoiser_too(tmp_path: Path) -> None:
    folder = write_model(tmp_path, unet=[None, None], transformer=["diffusers", "SD3Transformer2DModel"])
    write_weights(folder / "transformer" / WEIGHTS, (3,))
    write_json(folder / "transformer" / "config.json", {"sample_size": 128})

    assert read_model(folder).denoiser.class_name == "SD3Transformer2DModel"
    shutil.rmtree(folder / "unet")
    assert read_model(folder).native_pixels == 256


def test_variants_and_shards_are_counted_once(folder: Path) -> None:
    for variant in ("fp16.safetensors", "non_ema.safetensors", "fp16-00001-of-00002.safetensors"):
        shutil.copy(folder / UNET, folder / "unet" / f"diffusion_pytorch_model.{variant}")
    assert read_model(folder).denoiser.parameters == 10

    (folder / UNET).unlink()
    for shard in (1, 2):
        write_weights(folder / "unet" / f"diffusion_pytorch_model-0000{shard}-of-00002.safetensors", (4,))
    assert read_model(folder).denoiser.parameters == 8


def test_a_class_in_the_module_of_a_pipeline_is_diffusers_own(folder: Path) -> None:
    """Stable Diffusion 1 names its safety checker so; the module must be one that can be imported."""
    write_model(folder, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    (folder / "safety_checker").mkdir()

    checker = next(part for part in read_model(folder).components if part.name == "safety_checker")
    assert checker.library == "diffusers.pipelines.stable_diffusion"


def test_reading_imports_no_library(folder: Path) -> None:
    write_model(folder, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    (folder / "safety_checker").mkdir()
    code = (
        "import sys; from pathlib import Path; from autotune.probes.model import read_model\n"
        "read_model(Path(sys.argv[1])); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert {"torch", "diffusers", "transformers", "safetensors"}.isdisjoint(done.stdout.split())


NO_SIZES = [(None, 4), ([8, 8], 4), ("64", 4), (64, 0), (-8, 4), (0, 4), (3, 1), (9, 1), (64, 100), (10**30, 4)]


@pytest.mark.parametrize(
    ("sample", "blocks", "pixels"), [(64, 4, 512), (128, 4, 1024), *((*size, None) for size in NO_SIZES)]
)
def test_the_size_of_its_images_is_told_or_unknown(folder: Path, sample: Any, blocks: int, pixels: int | None) -> None:
    write_json(folder / "unet" / "config.json", {"sample_size": sample})
    write_json(folder / "vae" / "config.json", {"block_out_channels": [8] * blocks})

    assert read_model(folder).native_pixels == pixels


Spoil = Callable[[Path], object]


class Bomb:
    """What unpickling it would do."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.canary),)


def index_says(**index: Any) -> Spoil:
    return lambda folder: write_model(folder, **index)


def text(name: str, content: str) -> Spoil:
    return lambda folder: (folder / name).write_text(content)


def content(name: str, bytes_: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(bytes_)


def weights_header(header: Any, data: bytes = bytes(100)) -> Spoil:
    declared = json.dumps(header).encode()
    return content(UNET, struct.pack("<Q", len(declared)) + declared + data)


def tensor(shape: list[Any], offsets: Any, dtype: str = "F32") -> Any:
    return {"t": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def cut(name: str, bytes_: int) -> Spoil:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size - bytes_)


def pickled(folder: Path) -> None:
    (folder / UNET).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(canary(folder))))


def code_in(name: str) -> Spoil:
    return lambda folder: (folder / name).write_text(f"import os; os.mkdir({str(canary(folder))!r})")


def other_library(folder: Path) -> None:
    write_model(folder, unet=["canary_library", "UNet"])
    code_in("canary_library.py")(folder)


def own_pipeline(folder: Path) -> None:
    write_model(folder, _class_name=["pipeline", "MyPipeline"])
    code_in("pipeline.py")(folder)


def folder_in_place_of(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return spoil


def file_in_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def broken_link(folder: Path) -> None:
    (folder / "unet" / "extra.json").symlink_to(folder / "nowhere")


def linked_away(folder: Path) -> None:
    (folder / "vae").rename(folder.parent / "elsewhere")
    (folder / "vae").symlink_to(folder.parent / "elsewhere")


def canary(folder: Path) -> Path:
    return folder.parent / "canary"


BAD_FOLDERS: dict[str, tuple[Spoil, str]] = {
    "no folder": (shutil.rmtree, "is not a diffusers model folder: it has no model_index.json"),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "it has no model_index.json"),
    "a file": (file_in_place, "it has no model_index.json"),
    "broken JSON": (text("model_index.json", '{"_class_name": '), "cannot be read as JSON"),
    "no UTF-8": (content("model_index.json", b"\xff\xfe{}"), "cannot be read as JSON"),
    "a list": (text("model_index.json", "[1, 2]"), "should hold a JSON object, but holds a list"),
    "deep": (text("model_index.json", "[" * 100_000), "cannot be read as JSON"),
    "a long number": (text("model_index.json", "9" * 10_000), "cannot be read as JSON"),
    "index is a folder": (folder_in_place_of("model_index.json"), "cannot be read as JSON"),
    "no class": (text("model_index.json", "{}"), "names no pipeline class"),
    "class of its own": (own_pipeline, "a pipeline with code of its own is not run"),
    "class is no name": (index_says(_class_name="../../pipeline"), "names no pipeline class"),
    "class is no text": (text("model_index.json", r'{"_class_name": "\ud800"}'), "names no pipeline class"),
    "other library": (other_library, "takes its unet from 'canary_library'; only code of diffusers"),
    "library without class": (index_says(extra=["canary_library", None]), "takes its extra from 'canary_library'"),
    "library as a path": (index_says(extra=["diffusers/../os", "system"]), "takes its extra from"),
    "attribute of pipelines": (index_says(extra=["os", "system"]), "takes its extra from 'os'"),
    "no class of a part": (index_says(unet=["diffusers", None]), "names no class for its unet"),
    "three classes": (index_says(unet=["diffusers", "A", "B"]), "names no class for its unet"),
    "part elsewhere": (index_says(**{"../model/unet": ["diffusers", "UNet2DConditionModel"]}), "no folder of that"),
    "part of a long name": (index_says(**{"x" * 5000: ["diffusers", "UNet2DConditionModel"]}), "no folder of that"),
    "part is a link": (linked_away, "names a vae in model_index.json but has no folder of that name"),
    "part missing": (lambda folder: shutil.rmtree(folder / "vae"), "names a vae in model_index.json but has no"),
    "no denoiser": (index_says(unet=[None, None]), "has no transformer and no unet: autotune cannot tune"),
    "denoiser without weights": (lambda folder: (folder / UNET).unlink(), "unet has no weights"),
    "pickled": (pickled, "has pickled weights (diffusion_pytorch_model.bin), which can run code"),
    "code in a part": (code_in("unet/modeling.py"), "unet brings code of its own"),
    "weights cut short": (cut(UNET, 41), "is cut short: it declares"),
    "weights cut by a byte": (cut(UNET, 1), "is cut short: it declares"),
    "weights empty": (content(UNET, b""), "its header is not there or absurdly long"),
    "absurd header": (content(UNET, struct.pack("<Q", 2**63) + b"{}"), "its header is not there or absurdly long"),
    "header cut short": (content(UNET, struct.pack("<Q", 1000) + b'{"t": '), "its header cannot be read"),
    "header is a list": (weights_header([1]), "its header cannot be read"),
    "header is deep": (content(UNET, struct.pack("<Q", 10**5) + b"[" * 10**5), "its header cannot be read"),
    "half a parameter": (weights_header(tensor([2.5], [0, 10])), "2.5 counts nothing"),
    "less than none": (weights_header(tensor([-3], [0, 12])), "-3 counts nothing"),
    "numberless": (weights_header(tensor(["ab"], [0, 8])), "'ab' counts nothing"),
    "infinite": (weights_header(tensor([float("inf")], [0, 8])), "inf counts nothing"),
    "more than a disk": (weights_header(tensor([2**70], [0, 8])), "counts nothing"),
    "more than fit": (weights_header(tensor([10**9] * 40, [0, 8])), "more numbers than 8 bytes can hold"),
    "no offsets": (weights_header({"t": {"shape": [1]}}), "its header cannot be read"),
    "one offset": (weights_header(tensor([1], [4])), "its header cannot be read"),
    "weights are a folder": (folder_in_place_of(UNET), "cannot be read"),
    "a broken link": (broken_link, "cannot be read"),
    "a config is a list": (text("unet/config.json", "[]"), "should hold a JSON object"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_what_is_no_model_is_refused_in_a_sentence(folder: Path, case: str) -> None:
    spoil, sentence = BAD_FOLDERS[case]
    spoil(folder)

    with pytest.raises(ModelError) as caught:
        read_model(folder)

    said = str(caught.value)
    assert sentence in said
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 1000
    assert caught.value.exit_code == 7
    assert not canary(folder).exists()


def test_the_bomb_would_have_gone_off(folder: Path) -> None:
    pickled(folder)
    pickle.loads((folder / "unet" / "diffusion_pytorch_model.bin").read_bytes())  # noqa: S301 - that is the point
    assert canary(folder).exists()


def test_pickled_weights_beside_safetensors_are_left_alone(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(canary(folder))))

    assert read_model(folder).denoiser.parameters == 10
    assert not canary(folder).exists()


def test_a_path_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = write_model(Path(os.fsdecode(bytes(tmp_path) + b"/\xff")))

    with pytest.raises(ModelError, match="is no text"):
        read_model(folder)


FILES = ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json", UNET, f"vae/{WEIGHTS}"]


@pytest.mark.parametrize("name", FILES)
def test_the_revision_changes_with_any_file_and_not_with_its_age(folder: Path, name: str) -> None:
    before = revision_of(folder)
    file = folder / name

    os.utime(file, (0, 0))
    assert revision_of(folder) == before

    was = file.read_bytes()
    file.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))
    assert revision_of(folder) != before

    file.write_bytes(was)
    assert revision_of(folder) == before

    file.unlink()
    assert revision_of(folder) != before


def test_the_revision_is_that_of_the_files_wherever_they_stand(folder: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    assert revision_of(elsewhere) == revision_of(folder) == read_model(folder).revision

    (elsewhere / "README.md").write_text("a note")
    assert revision_of(elsewhere) == revision_of(folder)

    (elsewhere / "unet" / "config.json").rename(elsewhere / "unet" / "other.json")
    assert revision_of(elsewhere) != revision_of(folder)


def test_a_large_file_is_known_by_its_header_its_size_and_its_end(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    write_weights(folder / UNET, (2**20,))
    before, size = revision_of(folder), (folder / UNET).stat().st_size

    for at, noticed in ((size - 2**20 + 10, True), (size - 1, True), (20, True), (2**20, False)):
        was = (folder / UNET).read_bytes()
        (folder / UNET).write_bytes(was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :])
        assert (revision_of(folder) != before) is noticed
        (folder / UNET).write_bytes(was)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("fuzzed"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("diffusers"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["_class_name", "unet", "vae", "scheduler", "t", "shape", "data_offsets", "sample_size", ""]),
    JSON | st.just("Pipeline") | st.just(["diffusers", "UNet2DConditionModel"]),
).map(lambda content: json.dumps(content).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["t", "u", "__metadata__"]),
    st.fixed_dictionaries({"shape": st.lists(st.integers() | JSON, max_size=3), "data_offsets": JSON}) | JSON,
).map(lambda content: json.dumps(content).encode())
ANY_WEIGHTS = st.builds(
    lambda length, header, data: struct.pack("<Q", max(0, len(header) + length)) + header + data,
    st.integers(-2, 2) | st.integers(0, 2**62),
    HEADERS | st.binary(max_size=50),
    st.binary(max_size=20),
)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "vae/config.json", UNET])
@given(content=st.binary(max_size=200) | DOCUMENTS | ANY_WEIGHTS)
@example(content=b"")
def test_whatever_a_file_holds_it_is_a_model_or_a_model_error(fuzzed: Path, name: str, content: bytes) -> None:
    file = fuzzed / name
    was = file.read_bytes()
    file.write_bytes(content)
    try:
        card = read_model(fuzzed)
    except ModelError as error:
        assert str(error).endswith(".")  # noqa: PT017 - either is right
    else:
        assert card.denoiser.parameters > 0
        assert card.native_pixels is None or card.native_pixels >= 8
    finally:
        file.write_bytes(was)


def test_a_folder_of_configurations_is_a_model_whose_weights_are_not_in_files(folder: Path) -> None:
    (folder / UNET).unlink()

    card = read_model(folder, weights="random")

    assert (card.weights, card.denoiser.class_name) == ("random", "UNet2DConditionModel")
    with pytest.raises(ModelError, match="has no weights"):
        read_model(folder)


def test_with_made_up_weights_it_is_another_revision_of_the_same_architecture(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    whole, made_up = read_model(folder), read_model(folder, weights="random")
    assert whole.revision != made_up.revision
    assert whole.architecture == made_up.architecture


def test_an_architecture_is_that_of_shapes(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    before = read_model(folder).architecture
    write_json(folder / "unet" / "config.json", {"sample_size": 32, "_name_or_path": "x", "_diffusers_version": "0.1"})
    for file in folder.glob("*/*.safetensors"):
        file.unlink()
    assert read_model(folder, weights="random").architecture == before
    write_json(folder / "unet" / "config.json", {"sample_size": 64})
    assert read_model(folder, weights="random").architecture != before
