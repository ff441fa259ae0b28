"""Adapters and distilled variants on the command line: what is refused, and whom a plan is given to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from autotune.errors import AutotuneError, ModelError, NoPlanError, TechniqueMissingError, UsageError
from autotune.planner import added
from autotune.planner.added import additions_of
from autotune.planner.catalogue import find_model
from autotune.planner.cli import tables
from autotune.planner.cli.main import app
from autotune.planner.client import plan as ask
from autotune.planner.daemon.wire import PlanQuery
from autotune.probes.adapter import read_adapter
from autotune.probes.machine import probe
from autotune.probes.model import config_of
from autotune.probes.software import probe_software
from autotune.search.additions import Additions
from autotune.search.measured import Quality
from autotune.search.recipe import Recipe

from ..daemon.family import keep, plan_of
from ..folders import write_model
from ..probes.test_adapter import write


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_model(tmp_path / "models" / "small"))


@pytest.fixture
def style(tmp_path: Path) -> str:
    return str(write(tmp_path / "style.safetensors"))


def refused(*arguments: str) -> AutotuneError:
    found = CliRunner().invoke(app, list(arguments)).exception
    assert isinstance(found, AutotuneError), found
    assert "\n" not in str(found)
    return found


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["--lora", "no/such.safetensors"], ModelError, "There is no adapter at no/such.safetensors"),
        (["--lora", "{style}:loud"], UsageError, "The scale of an adapter is a number"),
        (["--lora", "{style}", "--lora", "{style}:0.5"], UsageError, "is named twice"),
        (["--lora", "{pickle}"], ModelError, "is a pickle"),
        (["--distilled", "tiny_vae=."], UsageError, "name a model with --scorer"),
    ],
)
def test_what_cannot_be_meant(
    model: str, style: str, tmp_path: Path, arguments: list[str], kind: type[AutotuneError], said: str
) -> None:
    pickle = tmp_path / "style.bin"
    pickle.write_bytes(b"\x80\x04")
    filled = [each.format(style=style, pickle=pickle) for each in arguments]
    error = refused("--model", model, "--dry-run", *filled)
    assert (type(error), said in str(error)) == (kind, True), error


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["--distilled", "tiny_vae=."], UsageError, "say --allow distilled too"),
        (["--allow", "distilled", "--distilled", "tiny_vae"], UsageError, "is given as NAME=PATH"),
        (["--allow", "distilled", "--distilled", "turbo=."], UsageError, "There is no distilled variant turbo"),
        (["--allow", "distilled", *["--distilled", "tiny_vae=."] * 2], UsageError, "given twice"),
        (["--allow", "distilled", "--distilled", "tiny_vae={empty}"], ModelError, "has no config.json"),
        (["--allow", "distilled", "--distilled", "tiny_vae={vae}"], ModelError, "a tiny VAE is an AutoencoderTiny"),
        (["--allow", "distilled", "--distilled", "lcm_lora={empty}"], ModelError, "holds 0 .safetensors files"),
    ],
)
def test_variants_that_cannot_be_meant(
    tmp_path: Path, arguments: list[str], kind: type[AutotuneError], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    vae = Path(find_model("shapes").card.folder) / "vae"
    filled = [each.format(empty=tmp_path / "empty", vae=vae) for each in arguments]
    error = refused("--model", "shapes", "--dry-run", *filled)
    assert (type(error), said in str(error)) == (kind, True), error


def test_without_peft_an_adapter_is_refused_with_what_to_install(model: str, style: str) -> None:
    bare = probe_software().model_copy(update={"versions": {"torch": "2.13.0"}})
    with pytest.raises(TechniqueMissingError, match=r"autotune-diffusers\[lora\]"):
        additions_of(find_model(model).card, bare, [style])
    assert additions_of(find_model(model).card, bare) == Additions()


@pytest.mark.parametrize("name", ["shapes", "sdxl"])  # with weights and without
def test_a_tiny_vae_of_other_latents_is_another_models(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = find_model(name).card
    vae = card.component("vae")
    assert vae
    tiny = vae.model_copy(update={"class_name": "AutoencoderTiny"})
    forms = {"latent_channels": 16, "encoder_block_out_channels": config_of(card, "vae")["block_out_channels"]}
    monkeypatch.setattr(added, "read_component", lambda *_: (tiny, forms))
    with pytest.raises(ModelError, match="latents of 16 channels"):
        additions_of(card, probe_software(), (), {"tiny_vae": str(tmp_path)}, allowed=True)


def test_a_dry_run_says_what_is_added(model: str, style: str) -> None:
    said = CliRunner().invoke(app, ["--model", model, "--dry-run", "--lora", f"{style}:0.5"])
    assert f"with --lora {style}:0.5" in said.output
    assert "left out: tiny_vae=True: changes the model itself" in said.output
    said = CliRunner().invoke(app, ["--model", model, "--dry-run", "--lora", f"{style}:0.5", "--json"])
    assert json.loads(said.output)["scope"]["adapters"] == [read_adapter(f"{style}:0.5").key]
    assert json.loads(said.output)["choices"]["lora"][:2] == ["attached", "fused"]


class TestServing:
    """A plan is for the adapters that it was tuned with, and a distilled one for those who allow it."""

    @pytest.fixture
    def asked(self, style: str) -> Additions:
        return Additions(adapters=(read_adapter(f"{style}:0.5"),))

    def kept(self, *, adapters: tuple[str, ...] = (), distilled: tuple[str, ...] = ()) -> None:
        machine = probe()
        plan = plan_of("bf16", peak_bytes=1000, machine=machine.fingerprint, adapters=adapters, distilled=distilled)
        keep([plan], machine)

    def test_an_app_without_the_adapter_does_not_get_its_plan(self, asked: Additions) -> None:
        self.kept(adapters=asked.adapter_keys)
        assert ask("shapes", added=asked).plan.scope.adapters == asked.adapter_keys
        with pytest.raises(NoPlanError, match="tuned with adapters or distilled variants only"):
            ask("shapes")
        quieter = asked.adapters[0].model_copy(update={"scale": 0.4})
        with pytest.raises(NoPlanError, match=r"with these 1 adapters at these scales: run `autotune"):
            ask("shapes", added=Additions(adapters=(quieter,)))

    def test_an_app_with_an_adapter_does_not_get_a_plan_without(self, asked: Additions) -> None:
        self.kept()
        assert ask("shapes").plan.scope.adapters == ()
        with pytest.raises(NoPlanError, match="--lora PATH:SCALE"):
            ask("shapes", added=asked)

    def test_a_distilled_plan_is_for_those_who_allow_it(self, style: str) -> None:
        allowed = Additions(distilled_allowed=True, lcm_lora=read_adapter(style))
        self.kept(distilled=allowed.distilled_keys)
        assert ask("shapes", added=allowed).plan.scope.distilled == allowed.distilled_keys
        with pytest.raises(NoPlanError, match="name them too"):
            ask("shapes")

    def test_who_allows_more_may_have_less(self, style: str) -> None:
        self.kept()
        allowed = Additions(distilled_allowed=True, lcm_lora=read_adapter(style))
        assert ask("shapes", added=allowed).plan.scope.distilled == ()

    def test_over_http_too(self, asked: Additions, style: str) -> None:
        allowed = Additions(distilled_allowed=True, lcm_lora=read_adapter(f"{style}:1e-05"))
        query = PlanQuery(
            model="shapes", adapters=",".join(asked.adapter_keys * 2), distilled=",".join(allowed.distilled_keys)
        )
        assert query.question.adapters == asked.adapter_keys * 2
        assert query.question.distilled == allowed.distilled_keys
        with pytest.raises(ValueError, match="adapters"):
            PlanQuery(model="shapes", adapters="../x")


def test_few_steps_are_in_the_answers_call(style: str) -> None:
    machine = probe()
    allowed = Additions(distilled_allowed=True, lcm_lora=read_adapter(style))
    plan = plan_of(machine=machine.fingerprint, peak_bytes=1000, distilled=allowed.distilled_keys)
    keep([plan.model_copy(update={"recipe": Recipe(turned={"lcm_lora": "4_steps"})})], machine)
    call = ask("shapes", added=allowed).call
    assert (call["num_inference_steps"], call["guidance_scale"]) == (4, 1.0)


def test_likeness_is_not_meant_of_a_distilled_plan(capsys: pytest.CaptureFixture[str]) -> None:
    quality = Quality(scorer="s", scores=(30.0,), baseline_scores=(30.0,), bound=0.0)
    plan = plan_of().model_copy(update={"recipe": Recipe(turned={"tiny_vae": True}), "quality": quality})
    Console(width=100).print(tables._comparison(plan))
    assert "not meant: distilled" in capsys.readouterr().out
    Console(width=100).print(tables._comparison(plan_of().model_copy(update={"quality": quality})))
    assert "not meant" not in capsys.readouterr().out


def test_how_the_plan_is_used_names_what_is_added(style: str, tmp_path: Path) -> None:
    adapter = read_adapter(f"{style}:0.5")
    added = Additions(adapters=(adapter,), distilled_allowed=True, lcm_lora=adapter)
    file = str(Path(style).resolve())
    assert tables._said_additions(added) == f', lora=["{file}:0.5"], distilled={{"lcm_lora": "{file}"}}'
    assert tables._said_additions(Additions()) == ""
    assert added.options == ("--lora", f"{file}:0.5", "--allow", "distilled", "--distilled", f"lcm_lora={file}")
    del tmp_path
