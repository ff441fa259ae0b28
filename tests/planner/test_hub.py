"""Models of the hub, fetched from one on this machine by the real client, in the process that does so for users."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.errors import ModelError
from autotune.planner.catalogue.weights import require_weights
from autotune.planner.hub.cache import shared_cache, snapshot, storage, with_weights
from autotune.planner.hub.download import CHUNK_BYTES
from autotune.planner.hub.fetch import describe, fetch, find
from autotune.planner.hub.listing import File, needs_weights, small_files, weight_files, weights_in
from autotune.planner.hub.names import HubName, parse_name
from autotune.probes.model import Component, read_model

from ..folders import WEIGHTS, write_json, write_model, write_weights
from ..hub_server import TOKEN, Hub, reachable

REPO = "org/small"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client is led to, and an empty cache for what comes from it."""
    with reachable(tmp_path / "hf", monkeypatch) as hub:
        yield hub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model as hubs have them: beside what counts, the same weights in other forms, and more."""
    folder = write_model(tmp_path / "model", tokenizer=["transformers", "CLIPTokenizer"])
    write_weights(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors", (5,))
    for name in (
        "unet/diffusion_pytorch_model.bin",
        "onnx/model.onnx",
        "small-v1.safetensors",
        "small.ckpt",
        "pipeline.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not wanted")
    write_json(folder / "tokenizer" / "tokenizer_config.json", {})
    (folder / "tokenizer" / "merges.txt").write_text("a b")
    (folder / "README.md").write_text("A model.")
    return folder


WANTED = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    "vae/config.json",
}
WANTED_WEIGHTS = {f"unet/{WEIGHTS}", f"vae/{WEIGHTS}"}


def files_below(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def refused(repo: str = REPO, revision: str = "main") -> str:
    """Return the sentence with which a fetch is refused, and check that no token is in it and no weights came."""
    with pytest.raises(ModelError) as caught:
        fetch(repo, revision)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert TOKEN not in said
    return said


def check_no_weights_were_asked_for(hub: Hub) -> None:
    assert not hub.sent_bytes
    assert not [line for line in hub.asked if line.endswith((".safetensors", ".bin", ".py"))]


def test_a_model_goes_the_whole_way(hub: Hub, model: Path) -> None:
    commit = hub.commit(REPO, model)
    told: list[tuple[int, int]] = []

    folder = fetch(REPO, on_progress=lambda done, total: told.append((done, total)))

    assert files_below(folder) == WANTED | WANTED_WEIGHTS
    assert folder == storage(shared_cache(), REPO) / "snapshots" / commit
    assert (folder / "unet" / WEIGHTS).is_symlink()
    size = sum((folder / name).stat().st_size for name in WANTED | WANTED_WEIGHTS)
    assert told[-1] == (size, size)
    card = read_model(folder, REPO)
    assert card.weights == "files"
    assert card.denoiser.parameters == 10
    assert find(HubName(REPO)) == card
    assert find(HubName(REPO, commit)).revision == card.revision


def test_what_a_file_on_this_machine_has_already_is_left_out(hub: Hub, model: Path) -> None:
    hub.commit(REPO, model)

    folder = fetch(REPO, without=["unet"])

    assert files_below(folder) == WANTED | {f"vae/{WEIGHTS}"}
    assert with_weights(HubName(REPO)) is None


def test_what_is_here_is_not_fetched_again(hub: Hub, model: Path) -> None:
    hub.commit(REPO, model)
    first = fetch(REPO)
    sent = dict(hub.sent_bytes)

    assert fetch(REPO) == first
    assert dict(hub.sent_bytes) == sent


def test_a_cache_without_links_holds_each_file_once(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit(REPO, model)
    monkeypatch.setenv("HF_HUB_DISABLE_SYMLINKS", "1")

    folder = fetch(REPO)
    sent = dict(hub.sent_bytes)

    assert not (folder / "unet" / WEIGHTS).is_symlink()
    assert not files_below(storage(shared_cache(), REPO) / "blobs")
    assert with_weights(HubName(REPO)) == folder == fetch(REPO)
    assert dict(hub.sent_bytes) == sent


def test_a_file_that_links_lead_to_stays(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit(REPO, model)
    linked = fetch(REPO)
    (model / "unet" / "config.json").write_text('{"sample_size": 16}')
    hub.commit(REPO, model)
    monkeypatch.setenv("HF_HUB_DISABLE_SYMLINKS", "1")

    copied = fetch(REPO)

    assert copied != linked
    assert not (copied / "unet" / WEIGHTS).is_symlink()
    assert read_model(linked).denoiser.parameters == read_model(copied).denoiser.parameters == 10


def test_other_tools_find_it_in_the_cache(hub: Hub, model: Path) -> None:
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    hub.commit(REPO, model)
    folder = fetch(REPO)

    cache = str(shared_cache())
    assert snapshot_download(REPO, cache_dir=cache, local_files_only=True) == str(folder)
    assert try_to_load_from_cache(REPO, f"unet/{WEIGHTS}", cache_dir=cache) == str(folder / "unet" / WEIGHTS)
    assert not list(shared_cache().rglob("*.incomplete"))


def test_a_description_has_no_weights(hub: Hub, model: Path) -> None:
    hub.commit(REPO, model)

    folder = describe(REPO)

    assert files_below(folder) == WANTED
    check_no_weights_were_asked_for(hub)
    card = read_model(folder, REPO, weights="none")
    assert (card.weights, card.denoiser.parameters, card.native_pixels) == ("none", 0, 64)


def test_a_model_is_described_once_and_then_known_without_the_hub(hub: Hub, model: Path) -> None:
    hub.commit(REPO, model)
    card = find(HubName(REPO))
    assert (card.name, card.weights) == (REPO, "none")
    asked = len(hub.asked)

    assert find(HubName(REPO)) == card
    assert len(hub.asked) == asked
    with pytest.raises(ModelError, match=r"autotune --model org/small --weights hub"):
        require_weights(card)
    fetch(REPO)
    require_weights(find(HubName(REPO)))


def test_a_branch_that_moves_mixes_no_files(hub: Hub, model: Path) -> None:
    old = hub.commit(REPO, model)
    assert describe(REPO).name == old
    write_weights(model / "unet" / WEIGHTS, (3, 3))
    new = hub.commit(REPO, model)

    pinned, moved = fetch(REPO, old), fetch(REPO)

    assert (pinned.name, moved.name) == (old, new)
    assert read_model(pinned, "old").denoiser.parameters == 10
    assert read_model(moved, "new").denoiser.parameters == 9
    assert (pinned / "vae" / WEIGHTS).resolve() == (moved / "vae" / WEIGHTS).resolve()
    assert with_weights(HubName(REPO)) == moved
    assert all(f"/resolve/{old}/" in line or f"/resolve/{new}/" in line for line in hub.asked if "/resolve/" in line)


def test_a_commit_that_lands_during_the_fetch_changes_nothing(hub: Hub, model: Path) -> None:
    old = hub.commit(REPO, model)
    write_weights(model / "unet" / WEIGHTS, (3, 3))

    hub.after_listing = lambda: hub.commit(REPO, model)

    folder = fetch(REPO)

    assert folder.name == old != hub.repos[REPO][-1][0]
    assert read_model(folder).denoiser.parameters == 10


def large(model: Path) -> int:
    """Give the model weights of some chunks, and return their bytes."""
    write_weights(model / "unet" / WEIGHTS, (1000, 1200))
    return (model / "unet" / WEIGHTS).stat().st_size


def test_a_line_that_is_cut_loses_nothing(hub: Hub, model: Path) -> None:
    size = large(model)
    hub.commit(REPO, model)
    hub.cut_after_bytes = 2 * CHUNK_BYTES

    folder = fetch(REPO)

    assert (folder / "unet" / WEIGHTS).read_bytes() == (model / "unet" / WEIGHTS).read_bytes()
    assert hub.sent_bytes[f"unet/{WEIGHTS}"] == size


def test_a_fetch_that_is_interrupted_goes_on_where_it_was(hub: Hub, model: Path) -> None:
    size = large(model)
    hub.commit(REPO, model)
    hub.cut_after_bytes, hub.hold = 2 * CHUNK_BYTES, True
    part = hashlib.sha256((model / "unet" / WEIGHTS).read_bytes()).hexdigest() + ".incomplete"

    def interrupt(done_bytes: int, _total_bytes: int) -> None:
        if done_bytes >= 2 * CHUNK_BYTES:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(REPO, on_progress=interrupt)
    kept = (storage(shared_cache(), REPO) / "blobs" / part).stat().st_size
    assert with_weights(HubName(REPO)) is None
    assert find(HubName(REPO)).weights == "none"
    hub.cut_after_bytes = 0
    hub.release.set()
    told: list[int] = []
    folder = fetch(REPO, on_progress=lambda done, _total: told.append(done))

    assert read_model(folder).denoiser.parameters == 1_200_000
    assert kept == 2 * CHUNK_BYTES
    assert hub.sent_bytes[f"unet/{WEIGHTS}"] == size
    assert told[0] >= kept


def test_what_arrives_damaged_is_thrown_away(hub: Hub, model: Path) -> None:
    hub.commit(REPO, model)
    hub.spoilt.add(f"vae/{WEIGHTS}")

    assert f"vae/{WEIGHTS} of {REPO} arrived damaged" in refused()
    assert with_weights(HubName(REPO)) is None
    hub.spoilt.clear()
    assert read_model(fetch(REPO)).component("vae") is not None


class TestRefused:
    """Models that are not run are not fetched, and why is one sentence."""

    def test_pickles_alone(self, hub: Hub, model: Path) -> None:
        (model / "unet" / WEIGHTS).unlink()
        (model / "unet" / "diffusion_pytorch_model.fp16.safetensors").unlink()
        hub.commit(REPO, model)

        assert "pickled weights (diffusion_pytorch_model.bin)" in refused()
        with pytest.raises(ModelError, match="pickled"):
            find(HubName(REPO))
        check_no_weights_were_asked_for(hub)

    def test_variants_alone(self, hub: Hub, model: Path) -> None:
        (model / "unet" / WEIGHTS).unlink()
        hub.commit(REPO, model)

        assert "diffusion_pytorch_model.fp16.safetensors" in refused()
        check_no_weights_were_asked_for(hub)

    def test_half_of_the_shards(self, hub: Hub, model: Path) -> None:
        (model / "vae" / WEIGHTS).rename(model / "vae" / "diffusion_pytorch_model-00001-of-00002.safetensors")
        hub.commit(REPO, model)

        refused()
        check_no_weights_were_asked_for(hub)

    @pytest.mark.parametrize(
        ("file", "content", "said"),
        [
            ("model_index.json", {"_class_name": ["pipeline", "Own"]}, "code of its own (_class_name in model_index"),
            ("model_index.json", {"_class_name": "X", "custom_pipeline": "own"}, "code of its own (custom_pipeline"),
            ("unet/config.json", {"auto_map": {"AutoModel": "own.Model"}}, "code of its own (auto_map in unet/config"),
            ("model_index.json", {"_class_name": "X", "unet": ["own", "Own"]}, "takes its unet from 'own'"),
        ],
    )
    def test_code_of_its_own(self, hub: Hub, model: Path, file: str, content: dict[str, object], said: str) -> None:
        write_json(model / file, content)
        hub.commit(REPO, model)

        assert said in refused()
        check_no_weights_were_asked_for(hub)

    def test_what_is_no_pipeline(self, hub: Hub, tmp_path: Path) -> None:
        write_json(tmp_path / "model" / "config.json", {})
        hub.commit(REPO, tmp_path / "model")

        assert "it has no model_index.json" in refused()

    def test_a_folder_that_leads_out_of_the_model(self, hub: Hub, model: Path) -> None:
        write_json(model / "model_index.json", {"_class_name": "X", "..": ["diffusers", "UNet2DConditionModel"]})
        hub.commit(REPO, model)

        refused()
        assert not list(shared_cache().rglob("*.safetensors"))

    def test_a_disk_that_is_too_small(self, hub: Hub, model: Path) -> None:
        hub.declared_bytes[f"unet/{WEIGHTS}"] = 10**18
        hub.commit(REPO, model)

        said = refused()

        assert f"needs {10**18 / 2**30:.1f} GiB more" in said
        assert re.search(r", and [\d.]+ .iB are free", said)
        check_no_weights_were_asked_for(hub)


class TestNotToBeHad:
    """What the hub, or the way to it, says against us."""

    def test_gated_without_a_token(self, hub: Hub, model: Path) -> None:
        hub.commit(REPO, model)
        hub.gated.add(REPO)

        said = refused()

        assert said.startswith(f"{hub.url}/{REPO} is gated, and no token was sent: accept its licence there")
        assert "`hf auth login`" in said
        assert "HF_TOKEN" in said

    def test_gated_with_a_token_that_has_no_access(
        self, hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.commit(REPO, model)
        hub.gated.add(REPO)

        assert "the token that was sent has no access: accept its licence" in refused()
        assert TOKEN not in "".join(capfd.readouterr())

    def test_gated_with_a_token_that_has_access(self, hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.commit(REPO, model)
        hub.gated.add(REPO)
        hub.members.add(TOKEN)

        assert read_model(fetch(REPO)).denoiser.parameters == 10
        sent_to = {path.split("/")[1] for path, token in hub.tokens.items() if token}
        assert "storage" not in sent_to, "the token went to another server"
        assert "org" in sent_to

    def test_no_such_model(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        assert refused("no/such").startswith(f"There is no model no/such at {hub.url}, or it is private")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert "use a token that may see it" in refused("no/such")

    @pytest.mark.parametrize("revision", ["v2", "0" * 40])
    def test_no_such_revision(self, hub: Hub, model: Path, revision: str) -> None:
        hub.commit(REPO, model)

        assert refused(REPO, revision).startswith(f"{REPO} has no revision {revision!r}")

    def test_offline(self, hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.commit(REPO, model)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

        assert "HF_HUB_OFFLINE keeps the hub from being asked" in refused()
        assert not hub.asked

    def test_no_network(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        del hub
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

        assert refused().startswith("http://127.0.0.1:9 cannot be reached")


def test_a_cache_that_cannot_be_written_is_said(hub: Hub, model: Path) -> None:
    hub.commit(REPO, model)
    shared_cache().parent.mkdir(parents=True, exist_ok=True)
    shared_cache().write_text("a file in its way")

    assert "cannot be kept in the Hugging Face cache" in refused()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/name", HubName("org/name")),
        ("black-forest-labs/FLUX.1-dev", HubName("black-forest-labs/FLUX.1-dev")),
        ("org/name@v1.0", HubName("org/name", "v1.0")),
        ("org/name@refs/pr/4", HubName("org/name", "refs/pr/4")),
        *(
            (text, None)
            for text in ["name", "./x", "../x", "~me/x", "/a/b", "a/b/c", "org/", "org/x@", "a/b@../x", "a/.."]
        ),
        *((text, None) for text in ["https://x.org/y", "org/na me", "org/x\n", "org/\u00e9", "org/x.git", "a--b/c"]),
    ],
)
def test_what_names_a_repository(text: str, name: HubName | None) -> None:
    assert parse_name(text) == name
    assert name is None or str(name) == text


UNET = Component(name="unet", library="diffusers", class_name="UNet2DConditionModel", parameters=0, bytes=0)
ENCODER = Component(name="text_encoder", library="transformers", class_name="T5EncoderModel", parameters=0, bytes=0)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (f"{WEIGHTS} model.safetensors diffusion_pytorch_model.fp16.safetensors", WEIGHTS),
        ("diffusion_pytorch_model-00001-of-00002.safetensors diffusion_pytorch_model-00002-of-00002.safetensors", None),
        (f"{WEIGHTS} diffusion_pytorch_model-00001-of-00001.safetensors", WEIGHTS),
        ("diffusion_pytorch_model-00001-of-00002.safetensors", ""),
        ("diffusion_pytorch_model.fp16-00001-of-00001.safetensors diffusion_pytorch_model.bin other.safetensors", ""),
    ],
)
def test_of_weights_one_form_is_taken(names: str, taken: str | None) -> None:
    assert weights_in(names.split(), UNET) == tuple((names if taken is None else taken).split())


def test_a_text_encoder_has_its_weights_by_the_name_of_transformers() -> None:
    assert weights_in([WEIGHTS, "model.safetensors"], ENCODER) == ("model.safetensors",)


def test_indexes_of_other_forms_are_left_out() -> None:
    names = "model.safetensors.index.json model.safetensors.index.fp16.json pytorch_model.bin.index.json config.json"
    names += " model.fp16.safetensors.index.json spiece.model chat_template.jinja notes.md modeling.py"
    files = [File(f"text_encoder/{name}", 1, name) for name in names.split()]

    taken = [file.name.partition("/")[2] for file in small_files(files, ["text_encoder"])]

    assert taken == ["model.safetensors.index.json", "config.json", "spiece.model", "chat_template.jinja"]


def test_weights_are_those_of_components() -> None:
    files = [File(name, 1, name) for name in (f"unet/{WEIGHTS}", WEIGHTS, f"unet/old/{WEIGHTS}", f"other/{WEIGHTS}")]

    assert [file.name for file in weight_files(files, [UNET])] == [f"unet/{WEIGHTS}"]


@pytest.mark.parametrize(
    "kind", ["CLIPTokenizerFast", "EulerDiscreteScheduler", "CLIPImageProcessor", "CLIPFeatureExtractor"]
)
def test_a_part_without_weights_needs_none(kind: str) -> None:
    assert not needs_weights(UNET.model_copy(update={"class_name": kind}), ["config.json"])
    assert needs_weights(ENCODER, ["config.json"])
    assert not needs_weights(ENCODER, ["other.json"])


def test_a_snapshot_that_lacks_weights_is_not_taken_for_whole(hub: Hub, model: Path) -> None:
    hub.commit(REPO, model)
    folder = fetch(REPO)
    for lost in WANTED_WEIGHTS:
        kept = (folder / lost).readlink()
        (folder / lost).unlink()
        assert with_weights(HubName(REPO)) is None
        assert snapshot(shared_cache(), HubName(REPO)) == folder
        (folder / lost).symlink_to(kept)
    assert with_weights(HubName(REPO)) == folder
    shutil.rmtree(folder / "vae")
    assert with_weights(HubName(REPO)) is None


def test_a_ref_that_is_no_commit_leads_nowhere(hub: Hub) -> None:
    del hub
    write_json(storage(shared_cache(), REPO) / "refs" / "main", json.loads('"../../elsewhere"'))

    assert snapshot(shared_cache(), HubName(REPO)) is None
