"""How likely it is that a recipe runs, fits into memory, and meets the constraint, by what was tried.

What does not fit tells a bound of its peak, and what runs tells the peak itself: so where the cliff is can be predicted
before it was met often. Everything else that fails is told apart from what ran, and nothing else is known of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .surrogate import Surrogate, at_most

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measured import Trial

LEAST_PEAKS = 3  # of recipes that ran, before a peak is predicted
LIKELY = 0.8  # what is less likely to run is not tried while there is something else


def chance_to_run(tried: Sequence[Trial], among: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the probability of each candidate that it fits and does not fail.

    among: similarities of what was tried, (3, n, n); across: of the candidates with it, (3, m, n).
    """
    crowded = np.array([trial.outcome == "out_of_memory" for trial in tried])
    peaked = np.array([bool(trial.latency and trial.peak_memory_bytes) for trial in tried])
    ran = np.array([trial.latency is not None for trial in tried])
    if not crowded.any() or peaked.sum() < LEAST_PEAKS:
        return _chance_not_to_fail(ran, among, across)
    measured = peaked | crowded
    logs = np.log([trial.peak_memory_bytes for trial in tried if trial.latency and trial.peak_memory_bytes])
    peaks = np.full(len(tried), logs.max())  # what did not fit takes more than what is known to
    peaks[peaked] = logs
    known = among[:, measured][:, :, measured]
    process = Surrogate.fit_bounded(known, peaks[measured], crowded[measured])
    mean, deviation = process.predict(across[:, :, measured])
    others = ~crowded
    fails = _chance_not_to_fail(ran[others], among[:, others][:, :, others], across[:, :, others])
    return np.asarray(at_most((logs.max() - mean) / deviation) * fails)


def _chance_not_to_fail(ran: np.ndarray, among: np.ndarray, across: np.ndarray) -> np.ndarray:
    if ran.all():
        return np.ones(across.shape[1])
    mean, deviation = Surrogate.fit(among, np.where(ran, 1.0, 0.0)).predict(across)
    return at_most((mean - 0.5) / deviation)


def chance_to_be_good(tried: Sequence[Trial], tolerance: float, among: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the probability of each candidate that it meets the constraint. tolerance: as in `Quality.shortfall`."""
    judged = np.array([trial.quality is not None for trial in tried])
    missed = np.array([trial.quality.shortfall(tolerance) for trial in tried if trial.quality])
    if not (missed > 0).any():
        return np.ones(across.shape[1])
    bound = 3 * float(np.median(np.abs(missed))) or 1.0
    missed = np.clip(missed, -bound, bound)
    mean, deviation = Surrogate.fit(among[:, judged][:, :, judged], missed).predict(across[:, :, judged])
    return at_most(-mean / deviation)
