"""Imported by a template: its trials find that torch cannot use a GPU in them, as where the template has used it."""

from __future__ import annotations

import os

import torch

IMPORTED_BY = os.getpid()

torch.cuda._is_in_bad_fork = lambda: os.getpid() != IMPORTED_BY
