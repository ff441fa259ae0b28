"""What a trial found out. A failure is a measurement too: it has an outcome and a sentence."""

from __future__ import annotations

import math
import statistics
from typing import Literal

from pydantic import Field, model_validator

from ..probes.load import Load
from ..value import Value
from .fidelity import Tier, missed, tier_of
from .pace import FIRST_CALLS, warm_up_calls
from .recipe import Recipe
from .witness import Witness

Outcome = Literal["ok", "out_of_memory", "unfit", "timeout", "crashed", "slow", "bad_image"]

FAILURES: tuple[Outcome, ...] = ("out_of_memory", "unfit", "timeout", "crashed", "bad_image")
"""Outcomes without an image; a trial that is merely slow has told what it was asked."""


QUIET_CORES = 0.2
"""What others may use beside a sample that counts: about what a system's own services do."""


class Latency(Value):
    """Wall times of whole pipeline calls, warm, in milliseconds; raw, so that any figure can be made again.

    `steps_ms` says of each what its median denoising step took, and `foreign_cores` how many cores other processes used
    meanwhile; they are empty where nobody looked. `at_least` means that the one sample is what a call that was given up
    would at least have taken, by its first steps.
    """

    samples_ms: tuple[float, ...] = Field(min_length=1)
    steps_ms: tuple[float, ...] = ()
    foreign_cores: tuple[float, ...] = ()
    at_least: bool = False

    @model_validator(mode="after")
    def _each_or_none(self) -> Latency:
        for name in ("steps_ms", "foreign_cores"):
            count = len(getattr(self, name))
            if count not in {0, len(self.samples_ms)}:
                msg = f"{len(self.samples_ms)} samples cannot have {count} {name}."
                raise ValueError(msg)
        return self

    @property
    def warm_up(self) -> int:
        """How many of the first calls were made before the pace was steady."""
        return warm_up_calls(self.steps_ms)

    @property
    def kept_ms(self) -> tuple[float, ...]:
        """The samples that count: the warm ones, and of these the ones in quiet, where there are enough."""
        warm = self.samples_ms[self.warm_up :]
        pairs = zip(warm, self.foreign_cores[self.warm_up :], strict=False)
        quiet = tuple(sample for sample, foreign in pairs if foreign <= QUIET_CORES)
        return quiet if len(quiet) >= FIRST_CALLS else warm

    @property
    def median_ms(self) -> float:
        """The median call of those that count."""
        return statistics.median(self.kept_ms)

    @property
    def spread(self) -> float:
        """The noise as a share of the median: 1.4826 times the median absolute deviation (0 for one sample)."""
        median = self.median_ms
        return 1.4826 * statistics.median(abs(sample - median) for sample in self.kept_ms) / median


class Worst(Value):
    """An image that lost much against the baseline's, in points of the score."""

    prompt: str
    seed: int
    difference: float


class Quality(Value):
    """Scores of a recipe's images beside the baseline's, paired by prompt, seed and initial latent.

    `scores` and `baseline_scores` are CLIP scores, 100 * max(cosine, 0), in the order of the prompts;
    `bound` is the lower end of the one-sided interval of the mean paired difference, at the risk of the look that was
    taken (search/verdict.py). `worst` has the three images that lost most. `likeness` and `psnr` are the structural
    similarity (SSIM) with the baseline's own images and the ratio of peak to noise in decibels, of those that were at
    hand, empty where they mean nothing because a distilled variant made them. `fidelity` is the tier that they had to
    be in; empty where none was asked for, and they are reported only. `witnesses` are what further models said of the
    images that were at hand.
    """

    scorer: str
    scores: tuple[float, ...] = Field(min_length=1)
    baseline_scores: tuple[float, ...] = Field(min_length=1)
    bound: float
    worst: tuple[Worst, ...] = ()
    likeness: tuple[float, ...] = ()
    psnr: tuple[float, ...] = ()
    fidelity: Tier | Literal[""] = ""
    witnesses: tuple[Witness, ...] = ()

    @model_validator(mode="after")
    def _paired(self) -> Quality:
        if len(self.scores) != len(self.baseline_scores):
            msg = f"{len(self.scores)} scores cannot be paired with {len(self.baseline_scores)} of the baseline."
            raise ValueError(msg)
        return self

    @property
    def mean(self) -> float:
        """The mean score of the recipe's images."""
        return statistics.fmean(self.scores)

    @property
    def baseline_mean(self) -> float:
        """The mean score of the baseline's images for the same prompts and seeds."""
        return statistics.fmean(self.baseline_scores)

    @property
    def differences(self) -> tuple[float, ...]:
        """What each image gained against the baseline's, in points."""
        return tuple(own - other for own, other in zip(self.scores, self.baseline_scores, strict=True))

    @property
    def floor(self) -> float:
        """The 10th percentile of the differences: one image in ten lost at least as much."""
        if len(self.scores) == 1:
            return self.differences[0]
        return statistics.quantiles(self.differences, n=10, method="inclusive")[0]

    @property
    def ssim(self) -> float | None:
        """The mean structural similarity with the baseline's images; None where no image of both was at hand."""
        return statistics.fmean(self.likeness) if self.likeness else None

    @property
    def tier(self) -> Tier | None:
        """The closest tier of fidelity that the images are in."""
        return tier_of(self.likeness, self._lpips)

    @property
    def _lpips(self) -> tuple[float, ...]:
        """How far images are from the baseline's own, empty where no witness says so of as many as SSIM does."""
        for witness in self.witnesses:
            if witness.kind == "distance" and len(witness.figures) == len(self.likeness):
                return witness.figures
        return ()

    def shortfall(self, tolerance: float) -> float:
        """Return by how many points the bound misses what is tolerated; 0 or less means that it is met.

        tolerance: the share of the baseline's mean score that may be lost, such as 0.01. Where a tier of fidelity is
        asked for and missed by more, it is that, in hundredths.
        """
        missing = -tolerance * self.baseline_mean - self.bound
        if not self.fidelity:
            return missing
        return max(missing, 100 * missed(self.fidelity, self.likeness, self._lpips))


class Trial(Value):
    """A recipe that was tried, and what came of it.

    `load_peak_bytes` is the part of the peak that loading alone had, `predicted_bytes` the peak that was expected
    without what trials have taught: None where nothing was. `costs` are what the objective makes
    of its calls, empty where that is their latency. `load` is what else went on beside its calls, and `drift`
    how many times slower the baseline was at that time than when it was measured first.
    """

    number: int = Field(ge=0)
    recipe: Recipe
    outcome: Outcome
    detail: str = ""
    latency: Latency | None = None
    load_s: float | None = None
    cold_s: float | None = None
    peak_memory_bytes: int | None = None
    load_peak_bytes: int | None = None
    predicted_bytes: int | None = None
    weights_bytes: int | None = None
    quality: Quality | None = None
    costs: tuple[float, ...] = ()
    load: Load | None = None
    drift: float = Field(default=1.0, gt=0)
    started_at: str
    duration_s: float

    def feasible(self, tolerance: float) -> bool:
        """Return whether it ran, and its images are as good as the constraint asks (or nobody can tell)."""
        if self.outcome != "ok":
            return False
        return self.quality is None or self.quality.shortfall(tolerance) <= 0

    @property
    def cost(self) -> float:
        """What is to be small, of the median call: its latency, or what the objective makes of it; else infinite."""
        return statistics.median(self.costs) / self.drift if self.costs else self.median_ms

    @property
    def ready_s(self) -> float:
        """How long loading and the first call took, as far as it got."""
        return (self.load_s or 0.0) + (self.cold_s or 0.0)

    @property
    def median_ms(self) -> float:
        """The median latency as it would have been beside the first baseline, infinite where there is none.

        It is for comparing, never for keeping.
        """
        return self.latency.median_ms / self.drift if self.latency else math.inf
