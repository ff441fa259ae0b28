"""How often things are made to go wrong: a little in every run of the tests, and more where somebody asks for it."""

from __future__ import annotations

import os

MORE = int(os.environ.get("FAULTS", "1"))
"""`FAULTS=10 pytest tests/faults tests/security tests/stateful` does everything that is random ten times as often."""
