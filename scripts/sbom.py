"""Write the software bill of materials of this product: what an installation runs, in CycloneDX JSON.

    python scripts/sbom.py OUTPUT

The development environment has linters, test runners and the site's builder too. Only the product's own requirements,
and theirs in turn, are kept.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = "fl-app"


def runtime_packages() -> frozenset[str]:
    """Return the normalised names of all packages that the product needs at run time, but for itself."""
    needed = set[tuple[str, str]]()
    waiting = [(PRODUCT, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in needed:
            continue
        needed.add((name, extra))
        for requirement in requirements(name, extra):
            dependency = canonicalize_name(requirement.name)
            waiting += [(dependency, wanted) for wanted in ("", *requirement.extras)]
    return frozenset(name for name, _ in needed) - {PRODUCT}


def requirements(name: str, extra: str) -> list[Requirement]:
    """Return what a package requires on this platform, with one of its extras; nothing if it is not installed."""
    try:
        texts = product_requirements() if name == PRODUCT else requires(name) or ()
    except PackageNotFoundError:
        return []
    stated = [Requirement(text) for text in texts]
    return [one for one in stated if one.marker is None or one.marker.evaluate({"extra": extra})]


def product_requirements() -> list[str]:
    """Return the requirements that pyproject.toml states."""
    stated: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    return stated


def of_the_product(bill: dict[str, Any], packages: frozenset[str]) -> dict[str, Any]:
    """Return ``bill`` with only those components, and relations between them, that are among ``packages``."""
    components = [part for part in bill["components"] if canonicalize_name(part["name"]) in packages]
    known = {part["bom-ref"] for part in components}
    root = bill["metadata"]["component"]["bom-ref"]
    relations = [
        {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", ()) if ref in known]}
        for entry in bill["dependencies"]
        if entry["ref"] in known | {root}
    ]
    return {**bill, "components": components, "dependencies": relations}


def environment_bill() -> dict[str, Any]:
    """Return the bill of this whole environment, as cyclonedx-py writes it."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description="Write the software bill of materials.")
    parser.add_argument("output", type=Path)
    output: Path = parser.parse_args().output
    bill = of_the_product(environment_bill(), runtime_packages())
    output.write_text(json.dumps(bill, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
