"""What benchmarks/gpu.py found, as a page for people."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from autotune.planner.choose import said_bytes
from autotune.planner.said import said_ms

Found = dict[str, Any]

NOT_MEASURED = "Not measured yet."
REHEARSAL = "**A rehearsal**: small pipelines of the same classes stood in for the models. No figure here is of a GPU."


def page(results: Found) -> str:
    """Return the page; what was not measured says so."""
    parts: dict[str, Found] = results["parts"]
    lines = ["# On a GPU", ""]
    if results["tiny"]:
        lines += [REHEARSAL, ""]
    lines += ["Written by `python benchmarks/gpu.py`; all figures are in `result.json` beside it.", ""]
    for title, tell, names in SECTIONS:
        for name in names:
            found = parts.get(name)
            lines += [f"## {title}{f': {name}' if len(names) > 1 else ''}", ""]
            lines += [NOT_MEASURED] if found is None else [*_troubles(found), *tell(found)]
            lines += [""]
    return "\n".join(lines)


def _troubles(found: Found) -> Iterator[str]:
    if "error" in found:
        yield f"It failed: {found['error']}"
        yield ""
    elif not found.get("done"):
        yield "There was not time for all of it."
        yield ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def _size(count: int | None) -> str:
    return said_bytes(count) if count else ""


def _time(milliseconds: float | None) -> str:
    return said_ms(milliseconds) if milliseconds else ""


def _machine(found: Found) -> Iterator[str]:
    first = found.get("first_trial", {})
    if not first:
        return
    for gpu in found["accelerators"]:
        yield f"{gpu['name']}, {_size(gpu['total_bytes'])}, driver {gpu['driver']}."
    yield f"{found['cores']} cores of {found['cpu']}, {_size(found['ram_bytes'])} of RAM."
    versions = {
        name: found["software"].get(name, "missing") for name in ("torch", "diffusers", "torchao", "bitsandbytes")
    }
    yield ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    if found["missing"]:
        yield f"Not installed, and so left out: {', '.join(found['missing'])}."
    how = "forked from" if first["say_origin"]["forked"] else "begun anew, as libraries had touched the device in"
    yield f"A trial's process was {how} the template, and used the device."


def _ladder(found: Found) -> Iterator[str]:
    rows, base = [], 0.0
    for row in found.get("rows", ()):
        latency = row.get("latency_ms", 0.0)
        base = base or latency
        published = f"{row['published_s']:g} s" if row.get("published_s") else ""
        memory = row.get("count_memory", {})
        rows.append(
            (
                row["step"],
                _time(latency) or row["outcome"],
                f"{base / latency:.2f}" if latency else row["reason"],
                published,
                _size(row.get("predicted_bytes")),
                _size(row.get("peak_memory_bytes")),
                _size(memory.get("allocated_bytes")),
                f"{row.get('cold_s', 0.0):.0f} s" if latency else "",
                f"{row.get('step_ms', 0.0):.1f} ms" if latency else "",
                f"{row['gpu_clock']:.0%}" if row.get("gpu_clock") else "",
            )
        )
    heads = ("step", "a call", "times the first", "published", "predicted", "peak (reserved)", "allocated")
    yield from _table((*heads, "first call", "a denoising step", "clock"), rows)


def _tuned(found: Found) -> Iterator[str]:
    if "trials" not in found:
        yield _said(found)
        return
    yield f"{found['trials']} trials in {found['seconds']:.0f} s; the trials are in `{found['table']}`. {_said(found)}"
    yield ""
    yield from _table(
        ("plan", "a call", "times the baseline", "95 %", "raced", "peak"),
        [
            (
                f"`{plan['recipe']}`",
                _time(plan["latency_ms"]),
                f"{plan['speedup']:.2f} (`{plan['baseline']}`, {_time(plan['baseline_ms'])})",
                f"{plan['speedup_low']:.2f} to {plan['speedup_high']:.2f}",
                "yes" if plan["raced"] else "no",
                _size(plan["peak_memory_bytes"]),
            )
            for plan in found["plans"]
        ],
    )
    yield ""
    errors = memory_errors(found["memory"])
    if errors:
        low, middle, high = min(errors), statistics.median(map(abs, errors)), _most(list(map(abs, errors)))
        yield (
            f"Peaks of memory: {len(errors)} predictions, half within {middle:.1%}, 95 % within {high:.1%}; "
            f"the lowest was {-min(low, 0.0):.1%} too low."
        )
    search = found["search"]
    if search:
        yield (
            f"A recipe within 5 % of the best was tried after {search['seconds']:.0f} s of trials; "
            f"a random order of the same recipes is expected to need {search['random_seconds']:.0f} s."
        )


def _said(found: Found) -> str:
    reason = found.get("reason", "").rstrip(".")
    return f"{reason[:1].upper()}{reason[1:]}." if reason else ""


def memory_errors(pairs: Sequence[Found]) -> list[float]:
    """Return by which share of what was measured each prediction was too high (above 0) or too low."""
    return [pair["predicted_bytes"] / pair["peak_bytes"] - 1 for pair in pairs]


def _most(numbers: list[float]) -> float:
    """Return the 95th percentile."""
    return max(numbers) if len(numbers) < 2 else statistics.quantiles(numbers, n=20, method="inclusive")[-1]


def _family(found: Found) -> Iterator[str]:
    for card, tuned in found.get("cards", {}).items():
        yield f"### {card}"
        yield ""
        yield from _tuned(tuned)
        yield ""


def _isolation(found: Found) -> Iterator[str]:
    if "before" not in found:
        return
    before, after, crowded = found["before"], found["after"], found["out_of_memory"]
    if before["outcome"] != "ok" or after["outcome"] != "ok":
        yield f"A trial beside them failed: {before.get('reason') or after.get('reason')}"
    else:
        ratio = after["latency_ms"] / before["latency_ms"]
        took = f"{_time(before['latency_ms'])} before what follows, and {_time(after['latency_ms'])} after it"
        yield f"A call took {took} ({ratio:.3f} times)."
    yield f"A trial with too little memory ended as `{crowded['outcome']}`: {crowded.get('reason', '')}"
    if found["broken"]:
        yield f"A trial broke its device ({found['broken']['first']}); what it did then: {found['broken']['then']}."
        taken = [each.get("count_memory", {}).get("taken_bytes") for each in (before, after)]
        first, last = map(_size, taken)
        yield f"Of the GPU's memory {first} were taken in the first of these trials, {last} in the last."
    else:
        yield "That a trial breaks its device was not tried: there is no GPU."


def _again(found: Found) -> Iterator[str]:
    if found.get("reason"):
        yield f"Nothing is compiled here: {found['reason']}"
    calls = found.get("calls", ())
    if len(calls) == 2:
        first, second = calls
        yield (
            f"`{found['recipe']}`: the first call of a process took {first['first_s']:.1f} s, of one that found "
            f"what the other had compiled {second['first_s']:.1f} s; a later call {second['later_s']:.2f} s."
        )


def _verified(found: Found) -> Iterator[str]:
    if "rows" not in found:
        return
    yield f"{found['rows']} recipes on small pipelines are in `compatibility.jsonl`."
    yield f"Not as the table has it: {len(found['differences'])}."
    for said in found["differences"]:
        yield f"- {said}"


SECTIONS = (
    ("The machine", _machine, ("machine",)),
    ("What each published step buys", _ladder, ("flux-dev-ladder", "sdxl-ladder")),
    ("What a tuning finds", _tuned, ("flux-dev", "sdxl", "sd15", "wan21-1.3b")),
    ("Where weights may lie", _ladder, ("flux-dev-places",)),
    ("Plans for smaller cards", _family, ("flux-dev-family",)),
    ("Trials that fail", _isolation, ("isolation",)),
    ("Code that was compiled before", _again, ("sdxl-again",)),
    ("What works together", _verified, ("verify",)),
)
