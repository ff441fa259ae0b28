"""A service that paints: `MODEL=shapes uvicorn fastapi_service:app`, and POST /images {"prompt": "a green star"}."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field

import autotune


class Order(BaseModel):
    """What is to be painted."""

    prompt: str = Field(min_length=1, max_length=1000)
    seed: int = Field(default=0, ge=0, lt=2**63)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model once, before the first question comes."""
    app.state.pipe = autotune.load(os.environ.get("MODEL", "shapes"))
    app.state.alone = threading.Lock()  # a pipeline makes one call at a time
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/plan")
def plan(request: Request) -> dict[str, object]:
    """Say how images are made."""
    answer = request.app.state.pipe.answer
    return {"reason": answer.reason, "recipe": answer.apply} if answer else {"reason": "There is no plan yet."}


@app.post("/images", response_class=Response)
def paint(order: Order, request: Request) -> Response:
    """Return an image as PNG. FastAPI runs this in a thread, so that other questions are answered meanwhile."""
    import torch

    noise = torch.Generator().manual_seed(order.seed)
    with request.app.state.alone:
        image = request.app.state.pipe(order.prompt, generator=noise).images[0]
    file = io.BytesIO()
    image.save(file, "PNG")
    return Response(file.getvalue(), media_type="image/png")
