"""Who else tries recipes of the same study, on machines of the same kind: what they find, and who tries what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .measured import Trial
    from .recipe import Recipe

    Leave = Callable[[Collection[str]], None]
    """Hears the keys of recipes that are not to be asked for while others try them."""


class Crew(Protocol):
    """What a study needs to know of the others. Each recipe is tried by one of them."""

    @property
    def helps(self) -> bool:
        """Whether another of them concludes the study: this one only searches."""
        ...

    @property
    def over(self) -> bool:
        """Whether the one that concludes the study has ended the search."""
        ...

    @property
    def trying(self) -> int:
        """How many recipes others try now."""
        ...

    def join(self, leave: Leave) -> None:
        """Begin. leave: tells the sampler what others try."""
        ...

    def news(self) -> list[Trial]:
        """Return the trials that others have ended since."""
        ...

    def claim(self, recipe: Recipe) -> bool:
        """Return whether this one is to try a recipe; else another does, and the sampler was told."""
        ...

    def wait(self, deadline: float) -> bool:
        """Wait until something has changed, and return True; False where no other tries anything.

        deadline: of `time.monotonic`; then it is False too.
        """
        ...

    def part(self) -> list[Trial]:
        """End the search for all of them, and return what they ended last."""
        ...


class Alone:
    """Nobody else."""

    helps = False
    over = False
    trying = 0

    def join(self, leave: Leave) -> None:
        """There is nothing to leave to others."""

    def news(self) -> list[Trial]:
        """Return nothing."""
        return []

    def claim(self, recipe: Recipe) -> bool:
        """Return True, as there is nobody else."""
        del recipe
        return True

    def wait(self, deadline: float) -> bool:
        """Return False: there is nobody to wait for."""
        del deadline
        return False

    def part(self) -> list[Trial]:
        """Return nothing."""
        return []


ALONE = Alone()
