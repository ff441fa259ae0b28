"""lab.toml: what is meant, and what is wrong in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import UsageError
from autotune.planner.lab.job import REQUEST
from autotune.planner.lab.matrix import cells
from autotune.planner.lab.wanted import Lab, read_lab

LAB = """
name = "spring"
budget = "90s"
total_budget = "8h"
objectives = ["latency", "energy"]

[[model]]
name = "shapes"
priority = 2

[[model]]
name = "tiny"
weights = "random"

[[workload]]
steps = 4

[[workload]]
size = "64x64"
guidance = 3
models = ["shapes"]

[[machine]]
label = { room = "b" }
price_per_hour = 2

[[machine]]
every_kind_once = true
"""


def lab(tmp_path: Path, text: str) -> Lab:
    file = tmp_path / "lab.toml"
    file.write_text(text)
    return read_lab(file)


def test_what_is_written_is_what_is_wanted(tmp_path: Path) -> None:
    wanted = lab(tmp_path, LAB)
    assert [model.name for model in wanted.model] == ["shapes", "tiny"]
    assert [str(workload) for workload in wanted.workload] == ["4 steps", "64x64, guidance 3"]
    assert [str(machines) for machines in wanted.machine] == ["label room=b", "every kind"]
    assert wanted.machine[0].price_per_hour == 2.0
    assert wanted.total_s == 8 * 3600
    assert wanted.key == lab(tmp_path, LAB + "\n# a comment changes nothing\n").key
    assert wanted.key != lab(tmp_path, LAB.replace("steps = 4", "steps = 5")).key


def test_the_least_that_can_be_said(tmp_path: Path) -> None:
    least = lab(tmp_path, 'name = "x"\n[[model]]\nname = "shapes"\n[[machine]]\nevery_kind_once = true\n')
    assert [str(workload) for workload in least.workload] == ["its own calls"]
    assert least.total_s == float("inf")


def test_who_judges_images_is_asked_for_on_each_machine(tmp_path: Path) -> None:
    judges = 'scorer = "/models/clip"\nalso = ["/models/lpips", "/models/dino"]\n'
    wanted = lab(tmp_path, f'name = "x"\n[[model]]\nname = "sd15"\n{judges}[[machine]]\nevery_kind_once = true\n')
    [cell] = cells(wanted, ["a100"])
    request = REQUEST.validate_python(cell.request(wanted))
    assert request.scorer == Path("/models/clip")
    assert request.also == (Path("/models/lpips"), Path("/models/dino"))
    [other] = cells(lab(tmp_path, LAB), ["a100"])[:1]
    assert REQUEST.validate_python(other.request(wanted)).also == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('budget = "90s"', 'budget = "soon"'), "'soon' was given"),
        (('total_budget = "8h"', 'total_budget = "9trials"'), "a total is a time such as 8h, and '9trials' was given"),
        (('"64x64"', '"63x64"'), "'63x64' was given"),
        (('name = "tiny"', 'name = "shapes"'), "a model is named twice"),
        (('models = ["shapes"]', 'models = ["shape"]'), "a workload is for shape, which is no model of this lab"),
        (("every_kind_once = true", ""), "machines are chosen by label, accelerator, name or every_kind_once"),
        (("steps = 4", 'steps = "4"'), "workload.0.steps: Input should be a valid integer"),
        (("steps = 4", "stesp = 4"), "workload.0.stesp: Extra inputs are not permitted"),
        (
            ('objectives = ["latency"', 'objectives = ["beauty"'),
            "objectives.0: Input should be 'latency', 'throughput'",
        ),
        (("[[model]]", "[[modell]]"), "model"),
        (('name = "spring"', "name = spring"), "is no TOML"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    with pytest.raises(UsageError) as error:
        lab(tmp_path, LAB.replace(*change))
    sentence = str(error.value)
    assert told in sentence
    assert "lab.toml" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_lab(tmp_path / "lab.toml")
