"""What is seen against what the table says: each way to differ is found, and nothing else is."""

from __future__ import annotations

import pytest

from autotune.search.recipe import Choice, Recipe
from autotune.search.rules import RULES, Rule
from autotune.search.verify import findings
from autotune.search.verify.check import Row
from autotune.search.verify.findings import difference, differences, standing
from autotune.search.verify.page import page

OFFLOAD = "openvino_or_offload"
BROKEN: dict[str, Choice] = {"compile": "openvino", "offload": "model"}


def row(turned: dict[str, Choice], **seen: object) -> Row:
    usual = {"architecture": "sd", "recipe": Recipe(turned=turned), "outcome": "works", "apart": 0.001}
    return Row.model_validate({**usual, **seen})


def by_rule(**seen: object) -> Row:
    return row(BROKEN, refused="it is refused.", rule=OFFLOAD, **seen)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (row({"precision": "bf16"}), ""),
        (row({"quantization": "bnb_nf4"}), ""),
        (row({"precision": "bf16"}, outcome="fails", detail="crashed: no"), "allowed, and fails: crashed: no"),
        (row({"fuse_qkv": True}, outcome="does nothing", detail="fuse_qkv"), "fuse_qkv does nothing"),
        (row({"precision": "bf16"}, apart=0.3), "claims to be exact"),
        (row({"quantization": "bnb_nf4"}, apart=0.3), ""),
        (row({"quantization": "bnb_nf4"}, apart=0.0), "changes nothing"),
        (row({"feature_cache": "first_block_0.08"}, apart=0.0), ""),
        (row({"feature_cache": "deepcache_3"}, unsteadiness=0.1), "just alike"),
        (row({"precision": "fp16"}, refused="slow."), ""),
        (by_rule(outcome="fails", apart=None), ""),
        (by_rule(outcome="does nothing"), ""),
        (by_rule(), f"the rule {OFFLOAD} refuses it, and it works"),
    ],
)
def test_a_difference_is_said(seen: Row, said: str) -> None:
    assert said in difference(seen)
    assert bool(said) is bool(difference(seen))


def test_a_rule_stands_as_its_combinations_do() -> None:
    [rule] = [rule for rule in RULES if rule.name == OFFLOAD]
    alone = row({"offload": "model"}, refused="no.", outcome="fails")
    assert standing(rule, [alone]) == ("not checked on this machine", 0)
    assert standing(rule, [by_rule(outcome="fails"), by_rule(outcome="does nothing")]) == ("confirmed", 2)
    assert standing(rule, [by_rule(outcome="fails"), by_rule()]) == ("contradicted", 2)


def test_what_a_small_pipeline_cannot_show_is_no_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = Rule(OFFLOAD, lambda _: True, because="slow", source="a paper", shows=False)
    monkeypatch.setattr(findings, "RULES", (hidden,))
    assert difference(by_rule()) == ""
    assert standing(hidden, [by_rule()]) == ("does not show on a small pipeline", 1)


def test_the_page_names_choices_rules_and_differences() -> None:
    rows = [
        row({"precision": "bf16"}),
        row({"precision": "bf16"}, architecture="flux", outcome="fails", detail="crashed: `x`", apart=None),
        row({"precision": "fp16"}, refused="slow.", outcome="works"),
        by_rule(outcome="fails", apart=None),
    ]
    text = page(rows)
    assert "| choice | sd | flux |" in text
    assert "| `precision=bf16` | 0.001 | **fails** |" in text
    assert "| `precision=fp16` | refused (runs) |  |" in text
    assert f"| `{OFFLOAD}` | 1 | confirmed |" in text
    assert "| sd | 1 | 0 | 0 | 1 | 1 |" in text
    assert "- flux, `precision=bf16`: it is allowed, and fails: crashed: x" in text
    assert len(differences(rows)) == 1
    assert "Nothing." in page(rows[:1])
