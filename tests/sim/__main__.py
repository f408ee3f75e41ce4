"""Seeds by hand.

python -m tests.sim --seeds 0-499           # these, on all processors; 1 when anything does not hold
python -m tests.sim --seed 17               # one, with its plan and its trace: virtual time, who, what
python -m tests.sim --seeds 0-9999 --edges  # and how often each change of state and each failpoint was reached
"""

import argparse
import sys

from tests.sim import campaign, coverage
from tests.sim.run import play
from tests.sim.town import Town


def one(seed: int) -> int:
    """Play it and tell everything."""
    town = Town()
    try:
        result = play(town, seed)
    finally:
        town.close()
    print(result.plan)
    for moment, who, what in result.trace:
        print(f"{moment:11.6f}  {who:<12} {what}")
    print(f"{result.ended} after {result.seconds:.1f} virtual seconds, trace {result.digest}")
    for name, where in result.findings:
        print(f"BROKEN {name}: {where}")
    return int(bool(result.findings))


def main(argv: list[str] | None = None) -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim", description="The sending engine on virtual time, by seeds."
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", default="0-499", help="from-to, both included")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--edges", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.seed is not None:
        return one(arguments.seed)
    first, _, last = arguments.seeds.partition("-")
    done = campaign.run(range(int(first), int(last or first) + 1), workers=arguments.workers)
    rate = done.seeds / done.real
    print(f"{done.seeds} seeds, {done.virtual:.0f} virtual seconds in {done.real:.0f}, {rate:.1f} seeds/s")
    print(f"ended as {dict(done.ended)}; not holding: {len(done.broken)}")
    if arguments.edges:
        for name, count in sorted((done.edges + done.reached).items()):
            print(f"{count:>9}  {name}")
    for line in coverage.missing(done.edges, done.reached):
        print(f"seldom  {line}")
    return int(bool(done.broken))


if __name__ == "__main__":
    sys.exit(main())
