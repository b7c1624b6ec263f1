"""Make the census demonstration's package data from UCI's own files.

    python scripts/split_census.py DIRECTORY

DIRECTORY holds adult.data.gz and adult.test.gz, unchanged but for gzip. The training rows are dealt to two pods,
each label on its own, so that the halves are disjoint and alike; the test rows become the modeller's test file.
The same input gives the same rows, in the same files, every time.
"""

import argparse
import gzip
import hashlib
import random
from collections import defaultdict
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent.parent / "fl_app" / "demo" / "data"
PODS = ("census-income-demo-dataset", "census-income-yaml-demo-dataset")
SEED = 1996
HEADER = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,gender,"
    "capital-gain,capital-loss,hours-per-week,native-country,TARGET"
)
SHA256 = {
    "adult.data.gz": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "adult.test.gz": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
}
SOURCE = """\
# Census income ("Adult")

Becker, B. and Kohavi, R. (1996). Adult. UCI Machine Learning Repository. DOI
[10.24432/C5XW20](https://doi.org/10.24432/C5XW20). Licence:
[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). Keep this attribution beside every copy.

| file | rows | over 50K | made of |
| --- | --- | --- | --- |
{rows}

Changes: a header line was added, spaces around fields and the full stops after the test file's labels were
removed, as was that file's first line, which is no row. The rows of `adult.data` were dealt to two disjoint halves
at random, each label on its own, by `scripts/split_census.py`. `?` stands for a missing value; `fnlwgt` is a
sampling weight and no feature.
"""


def read_rows(path: Path) -> list[str]:
    """Read one of UCI's files as comma-separated rows without spaces and full stops."""
    packed = path.read_bytes()
    text = gzip.decompress(packed)
    if hashlib.sha256(text).hexdigest() != SHA256[path.name]:
        raise SystemExit(f"{path} is not UCI's file: its SHA-256 differs from the one published")
    lines = [line for line in text.decode("ascii").splitlines() if line.count(",") == HEADER.count(",")]
    return [",".join(field.strip() for field in line.rstrip(".").split(",")) for line in lines]


def deal(rows: list[str]) -> tuple[list[str], list[str]]:
    """Deal the rows of each label to two halves at random; each half keeps the source's order."""
    rng = random.Random(SEED)  # noqa: S311 - a reproducible split, no secret
    by_label = defaultdict(list)
    for index, row in enumerate(rows):
        by_label[row.rpartition(",")[2]].append(index)
    first: set[int] = set()
    for label in sorted(by_label):
        indices = by_label[label]
        rng.shuffle(indices)
        first.update(indices[: len(indices) // 2])
    return [rows[i] for i in sorted(first)], [row for i, row in enumerate(rows) if i not in first]


def write(name: str, rows: list[str], origin: str) -> str:
    """Write one file, the same bytes for the same rows, and give its line for the table in SOURCE.md."""
    text = "\n".join([HEADER, *rows, ""]).encode("ascii")
    (OUTPUT / name).write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    over = sum(row.endswith(">50K") for row in rows)
    return f"| {name} | {len(rows):,} | {over:,} | {origin} |"


def main() -> None:
    """Read the source directory named on the command line and write the package's files."""
    parser = argparse.ArgumentParser(description="Split UCI's census income data for the demonstration.")
    parser.add_argument("directory", type=Path, help="holds adult.data.gz and adult.test.gz")
    directory = parser.parse_args().directory
    halves = deal(read_rows(directory / "adult.data.gz"))
    table = [write(f"{pod}.csv.gz", half, "adult.data") for pod, half in zip(PODS, halves, strict=True)]
    table.append(write("adult.test.csv.gz", read_rows(directory / "adult.test.gz"), "adult.test"))
    (OUTPUT / "SOURCE.md").write_text(SOURCE.format(rows="\n".join(table)), encoding="utf-8")


if __name__ == "__main__":
    main()
