"""Sweeps over many machines: which models and workloads on which machines, in which order, and what came of them."""
