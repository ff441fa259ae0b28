"""Answering a set, one screen after the other. Nothing is told before the last answer, whatever was picked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...errors import NoPlanError, UsageError
from ...search.plan import Plan
from ...store.blind import Answers, BlindSet, answers_to, keep_answers, read_set, sets
from ...store.run import now
from ...value import Value
from .verdict import Verdict, verdict


class Shown(Value):
    """What somebody sees of a set: the screen to be answered next, or the verdict. Nothing of it says which is which.

    `left` and `right` are tokens of images. `verdict`, `recipe` and `baseline` are there when all is answered.
    """

    schema_version: int = 1
    id: str
    state: Literal["open", "finished"]
    screen: int
    screens: int
    prompt: str = ""
    left: str = ""
    right: str = ""
    model: str = ""
    plan: str = ""
    recipe: str = ""
    baseline: str = ""
    verdict: Verdict | None = None


class SetLine(Value):
    """A set in short. `sentence` is its verdict, empty before the last answer: until then, nothing is told of it."""

    id: str
    model: str
    made_at: str
    answered: int
    screens: int
    sentence: str


def listed() -> tuple[SetLine, ...]:
    """Return all sets in short, the newest first."""
    return tuple(_line(blind, answers_to(blind.id)) for blind in sets())


def shown(name: str) -> Shown:
    """Return what is to be seen of a set now. Raises NoPlanError where there is no such set."""
    blind = _found(name)
    return _shown(blind, answers_to(name))


def answer(name: str, screen: int, picked: str) -> Shown:
    """Keep the answer to the screen that was shown, and return what comes next.

    Raises NoPlanError where there is no such set, and UsageError for an answer to another screen, or of another image.
    """
    blind, answers = _found(name), answers_to(name)
    if screen != len(answers.picked) or screen >= len(blind.screens):
        msg = f"Screen {len(answers.picked)} is to be answered, and {screen} was answered: load the page anew."
        raise UsageError(msg)
    if picked not in {blind.screens[screen].left, blind.screens[screen].right}:
        msg = "The image that was picked is not on this screen: load the page anew."
        raise UsageError(msg)
    last = screen + 1 == len(blind.screens)
    answers = Answers(picked=(*answers.picked, picked), finished_at=now() if last else "")
    keep_answers(name, answers)
    return _shown(blind, answers)


def evidence(scope: str, recipe: str) -> Verdict | None:
    """Return what people have seen of a recipe in a scope, over all sets; None where nobody has finished one."""
    found = [blind for blind in sets() if (blind.scope, blind.recipe) == (scope, recipe)]
    return verdict((blind, answers_to(blind.id)) for blind in found)


def seen_of(plans: Sequence[Plan]) -> Verdict | None:
    """Return what people saw of the first of these plans; None where there is none, or nobody has looked."""
    return evidence(plans[0].scope.key, plans[0].recipe.key) if plans else None


def _line(blind: BlindSet, answers: Answers) -> SetLine:
    found = verdict([(blind, answers)])
    return SetLine(
        id=blind.id,
        model=blind.model,
        made_at=blind.made_at,
        answered=len(answers.picked),
        screens=len(blind.screens),
        sentence=found.sentence if found else "",
    )


def _found(name: str) -> BlindSet:
    blind = read_set(name)
    if blind is None:
        msg = "There is no such set of pairs: `autotune spot MODEL` makes one."
        raise NoPlanError(msg)
    return blind


def _shown(blind: BlindSet, answers: Answers) -> Shown:
    place, count = len(answers.picked), len(blind.screens)
    if answers.finished_at:
        return Shown(
            id=blind.id,
            state="finished",
            screen=count,
            screens=count,
            model=blind.model,
            plan=blind.plan,
            recipe=blind.recipe,
            baseline=blind.baseline,
            verdict=verdict([(blind, answers)]),
        )
    screen = blind.screens[place]
    return Shown(
        id=blind.id,
        state="open",
        screen=place,
        screens=count,
        prompt=screen.prompt,
        left=screen.left,
        right=screen.right,
    )
