"""Templates, with the words for figures that they use."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choose import said_bytes
from ..said import said_ms, said_s
from .front import said_of
from .wording import CAUSES, said_share, said_times

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
STATIC = HERE / "static"


def render(template: str, **content: Any) -> str:
    """Return a page. Text of models, libraries and users in it is text: nothing of it becomes markup."""
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> Environment:
    # a tenth of a second, for who shows a page
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ms": said_ms,
        "s": said_s,
        "bytes": said_bytes,
        "share": said_share,
        "times": said_times,
        "cause": CAUSES.__getitem__,
        "saying": said_of,
        "day": lambda moment: moment[:10],
        "minute": lambda moment: moment[:16].replace("T", " "),
        "line": lambda text: " ".join(str(text).split()),
    }
    return environment
