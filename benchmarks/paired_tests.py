"""Whether one variant's gain over the others is more than chance, from the rows of runs.

python benchmarks/paired_tests.py rows.csv --against "hard + score + categories" --metric twins

The rows are those that `module_choices.py --rows` writes, of several files too. Printed: the mean gain over each other
variant on equal seeds, its 95 % interval, and p, alone and corrected for the number of variants (Holm).
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

from pisr_core.results.statistics import holm, paired_test


def main() -> None:
    """Prints a line for each other variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="+")
    parser.add_argument("--against", required=True, help="the variant whose gain is tested")
    parser.add_argument("--metric", default="pq", help="a column of the rows")
    arguments = parser.parse_args()
    runs: dict[str, dict[str, float]] = defaultdict(dict)
    for path in arguments.rows:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                runs[row["variant"]][row["seed"]] = float(row[arguments.metric])
    own = runs.pop(arguments.against)
    tests = {name: paired_test([own[seed] for seed in other], list(other.values())) for name, other in runs.items()}
    # Equal differences have no p, for then nothing tells how far they would scatter.
    tested = {name: test for name, test in tests.items() if test.p is not None}
    corrected = dict(zip(tested, holm([test.p or 0.0 for test in tested.values()]), strict=True))
    print(f"{arguments.metric} of {arguments.against}")
    print(f"{'over':42} {'gain':>7} {'95 % interval':>18} {'p':>8} {'p (Holm)':>9}")
    for name, test in tests.items():
        known = f"{test.low:+.2f} to {test.high:+.2f}" if name in tested else "-"
        values = (f"{test.p:8.4f}", f"{corrected[name]:9.4f}") if name in tested else ("-", "-")
        print(f"{name:42} {test.difference:+7.2f} {known:>18} {values[0]:>8} {values[1]:>9}")


if __name__ == "__main__":
    main()
