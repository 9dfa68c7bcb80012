"""One coverage-guided run of one target, in this process, with atheris. `python -m tests.fuzz` starts these.

python -m tests.fuzz.campaign TARGET CORPUS SECONDS RESULT
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.packages import COMPILED, PACKAGES

# Code that counts its branches is slower; the ordinary tests measure the same inputs without.
SLOWDOWN = 4.0
# An input that hangs in native code is noticed by libFuzzer, after this many seconds of the clock.
HANG_SECONDS = 300
# A process that is full makes way for another one, but not before it has done something beside its corpus.
MIN_RUNS = 2000
# In front of the input that runs, in a file that outlives the process.
LENGTH_BYTES = 4


def main() -> None:
    name, corpus, seconds, result = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    import atheris

    with atheris.instrument_imports(include=list(PACKAGES[name]), exclude=list(COMPILED)):
        from tests.fuzz.targets import TARGETS
    from nnpf import steps
    from tests.fuzz import budget

    logging.disable()
    with result.with_suffix(".steps").open("w+b") as file:  # at which step it died, if it does
        file.truncate(steps.MEMORY_BYTES)
        steps.share(mmap.mmap(file.fileno(), steps.MEMORY_BYTES))
    with result.with_suffix(".input").open("w+b") as file:
        file.truncate(LENGTH_BYTES + budget.MAX_INPUT_BYTES)
        running = mmap.mmap(file.fileno(), LENGTH_BYTES + budget.MAX_INPUT_BYTES)
    target = TARGETS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=list(PACKAGES[name]), exclude=list(COMPILED)):
        seeds = list(target.seeds())
        for seed in seeds:
            (corpus / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}").write_bytes(seed)
        target.prepare()
        for seed in random.Random(0).sample(seeds, min(8, len(seeds))):
            budget.attempt(target, seed)  # everything is imported
    enough = sum(1 for _ in corpus.iterdir()) + MIN_RUNS
    begun = time.process_time()
    found: dict[str, str] = {}
    state: dict[str, Any] = {"target": name, "runs": 0, "slowest": 0.0, "base_mib": budget.peak_bytes() >> 20}

    def save() -> None:
        state.update(
            seconds=round(time.process_time() - begun, 1),
            slowest=round(state["slowest"], 3),
            peak_mib=budget.peak_bytes() >> 20,
            corpus=sum(1 for _ in corpus.iterdir()),
            found=found,
        )
        part = result.with_suffix(".new")
        part.write_text(json.dumps(state))
        part.replace(result)

    def once(data: bytes) -> None:
        # What runs is kept, so that an input that kills the process is not lost.
        running[: LENGTH_BYTES + len(data)] = len(data).to_bytes(LENGTH_BYTES, "big") + data
        finding, taken = budget.attempt(target, data, SLOWDOWN)
        state["runs"] += 1
        state["slowest"] = max(state["slowest"], taken)
        if finding is not None and finding.where not in found:
            found[finding.where] = finding.detail
            number = hashlib.sha256(data).hexdigest()[:12]
            place = result.parent / f"{name}-{number}"
            place.write_bytes(data)
            place.with_suffix(".txt").write_text(f"{finding.where}\n{finding.detail}\n")
            save()
        if state["runs"] % 200 == 0:
            save()
        if time.process_time() - begun > seconds or (
            state["runs"] > enough and budget.peak_bytes() > budget.FULL_BYTES
        ):
            save()
            os._exit(0)

    options = [
        f"-max_len={budget.MAX_INPUT_BYTES}",
        f"-timeout={HANG_SECONDS}",
        "-rss_limit_mb=0",  # budget.attempt looks
        "-print_final_stats=0",
        "-verbosity=0",
        f"-artifact_prefix={result.parent}/{name}-",
    ]
    mutate = target.mutate
    # Every third change is libFuzzer's own, which knows what the code compared.
    custom = mutate and (lambda data, size, seed: mutate(data, size, seed) if seed % 3 else atheris.Mutate(data, size))
    more = {"custom_mutator": custom} if custom else {}
    atheris.Setup([sys.argv[0], *options, str(corpus)], once, **more)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
