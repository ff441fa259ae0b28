"""What the hub or the way to it says against us, in a sentence that names the next step. No token is ever in one."""

from __future__ import annotations

import errno

from .names import HubName


def sentence_for(error: Exception, name: HubName) -> str:
    """Return what to tell the user of an error of huggingface_hub's, of the network or of the disk."""
    return _of_the_hub(error, name) or _of_the_way(error, name) or _of_the_disk(error, name)


def _of_the_hub(error: Exception, name: HubName) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    if not isinstance(error, HfHubHTTPError):
        return ""
    hub, status = constants.ENDPOINT, error.response.status_code
    if isinstance(error, GatedRepoError):
        return _gated(f"{hub}/{name.repo}")
    if isinstance(error, RepositoryNotFoundError):
        return _not_found(hub, name)
    if isinstance(error, RevisionNotFoundError):
        return f"{name.repo} has no revision {name.revision!r}: see {hub}/{name.repo}/commits/main for what it has."
    if status == 401:
        return f"{hub} did not accept the token that was sent: run `hf auth login`, or set another HF_TOKEN."
    return f"{hub} answered with status {status} when it was asked for {name.repo}: try again later."


def _gated(page: str) -> str:
    from huggingface_hub import get_token

    if get_token():
        return f"{page} is gated, and the token that was sent has no access: accept its licence there with its account."
    return (
        f"{page} is gated, and no token was sent: accept its licence there, then run `hf auth login` or set HF_TOKEN."
    )


def _not_found(hub: str, name: HubName) -> str:
    from huggingface_hub import get_token

    way = "use a token that may see it" if get_token() else "run `hf auth login` or set HF_TOKEN, as no token was sent"
    return f"There is no model {name.repo} at {hub}, or it is private: check the name; if it is private, {way}."


def _of_the_way(error: Exception, name: HubName) -> str:
    """Say what is wrong between here and the hub."""
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    causes = [error, error.__cause__, error.__context__]
    if constants.HF_HUB_OFFLINE or any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return f"{name} is not here, and HF_HUB_OFFLINE keeps the hub from being asked: unset it, or give a folder."
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    if "TransportError" in kinds or isinstance(error, LocalEntryNotFoundError):  # the former is httpx's, or httpx2's
        return (
            f"{constants.ENDPOINT} cannot be reached or broke off ({type(error).__name__}), and {name} is not here in "
            f"whole: check the network, and the same command goes on."
        )
    return ""


def _of_the_disk(error: Exception, name: HubName) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The disk is full, so {name} is not here in whole: make space, and the same command goes on from there."
    if isinstance(error, OSError) and error.errno:
        where = error.filename or "a file"
        return f"{name} cannot be kept in the Hugging Face cache: {where} cannot be written ({error.strerror})."
    return f"{name} could not be had from the hub, for a reason that is not known ({type(error).__name__})."
