# SPDX-License-Identifier: GPL-2.0-only
"""Where nothing differs nothing may be reported: OLD against OLD, NEW against NEW, and against a placebo that only adds
preemption points.

    python -m tests.quality.silence --programs 100000

prints a line per comparison and exits with 1 if there was any divergence, any drift, or a violation on one side alone.
"""

from __future__ import annotations

import argparse
import sys

from fuzzer.compiled import use_compiled_core


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=100_000, help="of each comparison")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    core = use_compiled_core()
    from fuzzer.program.profile import PROFILES
    from tests.quality.noise import PAIRS, listen  # only now, or these modules would be interpreted

    print(f"core {core.reason}; {wanted.programs} programs of {len(PROFILES)} profiles each")
    loud = False
    for old, new in PAIRS:
        noise = listen(old, new, wanted.programs, wanted.seed)
        first = "" if noise.first_seed < 0 else f", first seed {noise.first_seed}"
        print(
            f"{old} against {new}: {noise.divergences} with divergences, {noise.drifts} drifted, "
            f"{noise.one_sided} with a violation on one side alone{first}",
            flush=True,
        )
        loud = loud or noise.first_seed >= 0
    return int(loud)


if __name__ == "__main__":
    sys.exit(main())
