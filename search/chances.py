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
LIKELY = 0.8  # what is less likely to fit is not tried while there is something else


def chance_to_fit(tried: Sequence[Trial], among: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the probability of each candidate that its peak is within the memory, as the peaks of others predict it.

    among: similarities of what was tried, (3, n, n); across: of the candidates with it, (3, m, n). All of them surely
    fit as long as nothing ran out of memory, or too few peaks are known to predict one.
    """
    if not _predicts_peaks(tried):
        return np.ones(across.shape[1])
    crowded, peaked = _crowded(tried), _peaked(tried)
    measured = peaked | crowded
    logs = np.log([trial.peak_memory_bytes for trial in tried if trial.latency and trial.peak_memory_bytes])
    peaks = np.full(len(tried), logs.max())  # what did not fit takes more than what is known to
    peaks[peaked] = logs
    known = among[:, measured][:, :, measured]
    process = Surrogate.fit_bounded(known, peaks[measured], crowded[measured])
    mean, deviation = process.predict(across[:, :, measured])
    return at_most((logs.max() - mean) / deviation)


def chance_to_run(tried: Sequence[Trial], among: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the probability of each candidate that it does not fail, but for the memory where that is predicted."""
    told = ~_crowded(tried) if _predicts_peaks(tried) else np.ones(len(tried), bool)
    ran = np.array([trial.latency is not None for trial in tried])[told]
    if ran.all():
        return np.ones(across.shape[1])
    mean, deviation = Surrogate.fit(among[:, told][:, :, told], np.where(ran, 1.0, 0.0)).predict(across[:, :, told])
    return at_most((mean - 0.5) / deviation)


def _predicts_peaks(tried: Sequence[Trial]) -> bool:
    return bool(_crowded(tried).any()) and int(_peaked(tried).sum()) >= LEAST_PEAKS


def _crowded(tried: Sequence[Trial]) -> np.ndarray:
    return np.array([trial.outcome == "out_of_memory" for trial in tried])


def _peaked(tried: Sequence[Trial]) -> np.ndarray:
    return np.array([bool(trial.latency and trial.peak_memory_bytes) for trial in tried])


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
