"""How many parameters a model has whose weights are not there: its classes say, in a process of its own.

That imports torch and takes seconds, so that only who tunes asks.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..probes.child import answer, ask_child
from ..probes.model import ModelCard, read_model

TIMEOUT_S = 300


def sized(card: ModelCard) -> ModelCard:
    """Return the card with the parameters of each component, where weights are made up and no files say how many.

    Raises ModelError where the installed classes make nothing of the configurations.
    """
    if card.weights != "random" or card.denoiser.parameters:
        return card
    told = ask_child(f"{__spec__.parent}.size", TIMEOUT_S, arguments=(card.folder,))
    said: dict[str, Any] = (
        {"problem": f"the process that asks {told.problem}"} if told.problem else json.loads(told.text)
    )
    if "problem" in said:
        msg = f"No model can be made of the configurations in {card.folder}: {said['problem']}."
        raise ModelError(msg)
    counted = [each.model_copy(update={"parameters": said[each.name]}) for each in card.components]
    return card.model_copy(update={"components": tuple(counted)})


def _look() -> dict[str, Any]:
    from .random_weights import shapes_of

    card = read_model(Path(sys.argv[2]), weights="random")
    try:
        return {
            each.name: sum(math.prod(tensor.shape) for tensor in shapes_of(card, each).values())
            for each in card.components
        }
    except Exception as error:  # noqa: BLE001 - whatever a class says against its configuration
        return {"problem": (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")}


if __name__ == "__main__":
    answer(_look)
