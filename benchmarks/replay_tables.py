"""Every sampler on every recorded table: `python benchmarks/replay_tables.py [--repeats 100] [--sampler NAME]...`.

Tables are apart in those that the settings of our sampler were chosen on, and those that it is only tested on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from autotune.planner.cli.scores import print_scores
from autotune.search.replay.replay import Terms, replay
from autotune.search.replay.table import Table, read_table
from autotune.search.samplers import SAMPLERS

HERE = Path(__file__).parent
CACHE = "Fn Bn warmup_steps warmup_interval max_warm max_cached_steps residual_threshold taylorseer taylor_order"
CONVOLUTION = "block_size_x block_size_y tile_size_x tile_size_y read_only use_padding use_shmem"
GRID = "precision memory_format fuse_qkv attention quantization tome_ratio guidance_cutoff offload compile"
LAMBDA = "precision xformers n_samples"
MOST = 100  # trials of a search


@dataclass(frozen=True)
class Recorded:
    """A table, and what its columns mean. tuned: whether settings of our sampler were chosen on it."""

    name: str
    file: str
    knobs: str
    objective: str
    tuned: bool
    constraint: str = ""
    cost: str = ""
    where: str = ""

    def read(self) -> Table:
        """Return it."""
        return read_table(
            HERE / self.file,
            self.knobs.split(),
            self.objective,
            constraints=[self.constraint] if self.constraint else [],
            cost=self.cost,
            where=[self.where] if self.where else [],
        )


def _lambda(name: str, device: str, *, tuned: bool) -> Recorded:
    file = "tables/lambda_sd_gpu_precision_batch.csv"
    return Recorded(name, file, LAMBDA, "latency/n_samples", tuned, cost="latency", where=f"device={device}")


TABLES = (
    Recorded(
        "cogvideox",
        "tables/diffusers_torchao_cogvideox.csv",
        "fuse_qkv compile quantize_vae quantization",
        "time_s",
        tuned=True,
    ),
    _lambda("lambda A10", "NVIDIA A10", tuned=True),
    _lambda("lambda V100", "Tesla V100-SXM2-16GB", tuned=True),
    Recorded(
        "cache-dit", "tables/cache_dit_flux_l20_wide.csv", CACHE, "latency_s", tuned=False, constraint="lpips<=0.3"
    ),
    Recorded(
        "convolution",
        "tables/kt_convolution_A4000.csv",
        CONVOLUTION,
        "time_ms",
        tuned=True,
        cost="compile_ms+benchmark_ms",
    ),
    Recorded(
        "shapes grid",
        "results/shapes_cpu_grid.csv",
        GRID,
        "latency_ms",
        tuned=False,
        constraint="feasible==True",
        cost="cost_s",
    ),
    _lambda("lambda A6000", "NVIDIA RTX A6000", tuned=False),
    _lambda("lambda A100", "NVIDIA A100-PCIE-40GB", tuned=False),
)


def main() -> None:
    """Search, and print the scores: the tables that were tuned on first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100, help="searches of each table by each sampler")
    parser.add_argument("--noise-cv", type=float, default=0.03, help="by how much measurements scatter")
    parser.add_argument("--sampler", action="append", choices=tuple(SAMPLERS), help="only this one; can be repeated")
    parser.add_argument("--table", action="append", choices=[each.name for each in TABLES], help="only this one")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each score")
    options = parser.parse_args()
    for recorded in sorted(TABLES, key=lambda each: not each.tuned):
        if options.table and recorded.name not in options.table:
            continue
        table = recorded.read()
        terms = Terms(MOST, repeats=options.repeats, noise_cv=options.noise_cv)
        scores = [replay(table, name, terms)[0] for name in options.sampler or SAMPLERS]
        if options.json:
            for each in scores:
                sys.stdout.write(
                    json.dumps({"tuned": recorded.tuned, "name": recorded.name, **each.model_dump()}) + "\n"
                )
        else:
            role = "settings were chosen on it" if recorded.tuned else "only tested"
            sys.stdout.write(f"\n{recorded.name} ({role})\n")
            print_scores(table, scores)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
