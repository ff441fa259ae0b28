"""Plays the process of a job: `python worker.py FOLDER`. The model that is named says how it behaves.

Each trial of a run is a line in a file of FOLDER that outlives it, as the store outlives a tuner.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

TRIAL_S = 0.05


def say(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def listen(told: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "stop":
            told.set()
    os._exit(1)


def tuned(trials: Path, most: int, told: threading.Event) -> None:
    known = trials.read_text().split() if trials.exists() else []
    say("prepared", run=trials.stem, trials=len(known), budget_s=100.0)
    for number in range(len(known), most):
        turned = {"threads": number} if number else {}
        say("trial_start", recipe=turned)
        time.sleep(TRIAL_S)
        with trials.open("a") as file:
            file.write(f"{number}\n")
        latency = {"samples_ms": [1000.0 / (number + 1)]}
        say("trial_end", trial={"number": number, "outcome": "ok", "recipe": {"turned": turned}, "latency": latency})
        if told.is_set():
            say("done", reason="interrupted", interrupted=True)
            os._exit(0)
    say("done", reason="nothing better is expected", interrupted=False)


def main() -> None:
    sitting = json.loads(sys.stdin.readline())
    told = threading.Event()
    threading.Thread(target=listen, args=(told,), daemon=True).start()
    folder, model = Path(sys.argv[1]), sitting["order"]["model"]
    if model == "crash":
        sys.stderr.write("no memory for that\n")
        os._exit(7)
    if model == "nonsense":
        sys.stdout.write("Loading weights...\n")
    elif model == "refused":
        say("refused", error="ModelError", message="There is no model 'refused'.")
    elif model == "busy" and not (folder / "free").exists():
        say("busy", message="Another autotune measures on this machine.")
    elif model == "family":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        say("trial_start", pids=[os.getpid(), child.pid])
        time.sleep(600)
    else:
        tuned(folder / f"{sitting['run'] or 'run-' + model}.txt", sitting["order"]["most_trials"] or 3, told)
    os._exit(0)


if __name__ == "__main__":
    main()
