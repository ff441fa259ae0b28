"""Every error that autotune raises on purpose. The message is one sentence or two: what was asked, what was
found, what to do. `exit_code` is what the command line leaves with.

    AutotuneError
    ├── UsageError            2  an argument that cannot be meant
    ├── NoPlanError           3  nothing measured meets the constraint
    ├── UnfitError            4  does not fit this machine, or the machine cannot do it
    │   └── TechniqueMissingError   a library that a technique needs is not installed
    ├── BusyError             5  another tuner works on this machine
    ├── DaemonError           6  the daemon cannot be reached, or cannot listen
    ├── ModelError            7  the model was not found, or is refused for safety
    ├── StoreError            8  the store is damaged, unreadable or full
    └── TrialProcessError     1  the process that starts trials died (a bug, or the machine's memory)
"""


class AutotuneError(Exception):
    """The root: catch this to catch everything that autotune raises on purpose."""

    exit_code = 1


class UsageError(AutotuneError):
    """An argument that cannot be meant: a negative budget, an unknown knob."""

    exit_code = 2


class NoPlanError(AutotuneError):
    """Nothing that was measured meets the constraint, or nothing was measured yet."""

    exit_code = 3


class UnfitError(AutotuneError):
    """The model does not fit this machine, or the machine cannot do what was asked."""

    exit_code = 4


class TechniqueMissingError(UnfitError):
    """A technique needs a library that is not installed."""


class BusyError(AutotuneError):
    """Another tuner works on this machine; two at once would spoil each other's timings."""

    exit_code = 5


class DaemonError(AutotuneError):
    """The daemon cannot be reached, or cannot listen where it was told to."""

    exit_code = 6


class ModelError(AutotuneError):
    """The model was not found, is not a diffusers folder, or is refused for safety."""

    exit_code = 7


class StoreError(AutotuneError):
    """The store cannot be opened, read or written."""

    exit_code = 8


class TrialProcessError(AutotuneError):
    """The template process, from which trials are forked, cannot be started or has died."""
