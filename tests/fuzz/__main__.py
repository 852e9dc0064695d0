"""`scripts/fuzz`: many seeded cases over all kinds of file, each target in a process of its own."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.harness import Tally, elapsed, mutated, replayed, run_target
from tests.fuzz.targets import Target, make_targets

_CHUNK = 100


def main() -> int:
    """0 where no case was taken wrongly."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="in all, spread over the kinds of file")
    parser.add_argument("--first", type=int, default=0, help="number of each kind's first case")
    parser.add_argument("--only", help="kinds whose name holds this")
    parser.add_argument("--keep", type=Path, help="folder for the files of cases that were taken wrongly")
    options = parser.parse_args()

    started, total, faults = time.monotonic(), Counter[str](), 0
    with tempfile.TemporaryDirectory() as base:
        targets = {n: t for n, t in make_targets(Path(base)).items() if options.only is None or options.only in n}
        each = -(-options.cases // len(targets))
        for name, target in targets.items():
            sound = target.path.read_bytes()
            tally = Tally()
            for first in range(options.first, options.first + each, _CHUNK):
                part = _in_a_process(name, target, range(first, min(first + _CHUNK, options.first + each)))
                target.path.write_bytes(sound)
                tally.counts += part.counts
                tally.faults += part.faults
            print(f"{name}: {dict(tally.counts)}" + (f", {len(tally.faults)} WRONG" if tally.faults else ""))
            for case, fault in tally.faults:
                print(f"  case {case}: {fault}")
                if options.keep is not None:
                    replayed(options.keep / f"{name}-{case}".replace("/", "_"), mutated(target, sound, name, case))
            total += tally.counts
            faults += len(tally.faults)
    print(f"{total.total()} cases in {elapsed(started)}: {dict(total)}; {faults} taken wrongly")
    return 1 if faults else 0


def _in_a_process(name: str, target: Target, cases: range) -> Tally:
    """The cases of one target, in a process that may die of them."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=lambda: sender.send(run_target(name, target, cases)))
    worker.start()
    sender.close()
    try:
        tally: Tally = receiver.recv()
    except EOFError:
        tally = Tally(Counter(crash=1), [(cases.start, f"the process died in cases {cases.start} to {cases.stop - 1}")])
    worker.join()
    return tally


if __name__ == "__main__":
    sys.exit(main())
