"""Write dp_accounting.json among the tests: what another accountant says of zero-concentrated differential privacy.

    python scripts/dp_oracle.py

The accountant is dp-accounting, which wants older releases of packages than Flower does. It is therefore installed into
an environment of its own, build/oracle, and what it says is committed. Two numbers for each rho and delta:

- ``renyi``: its conversion of Renyi differential privacy, a rho at each order a of a fine grid. It is the formula of
  `fl_app.privacy.accounting` at these orders, so that the exact minimum lies a little below.
- ``gaussian``: what a Gaussian mechanism of this rho really comes to, by the distribution of its privacy loss. No sound
  conversion is below it.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "tests" / "fl_app" / "privacy" / "dp_accounting.json"
VERSION = "0.6.0"
RHOS = (1e-6, 1e-5, 1e-4, 1e-3, 0.0085, 0.0306, 0.1, 0.2242, 0.5, 1.23, 3.0, 10.0, 50.0)
DELTAS = (1e-12, 1e-9, 1e-6, 1e-5, 1e-3)
# Orders of 1 + t, where t rises by a thousandth.
PROGRAM = """
import json, math, sys
from dp_accounting import GaussianDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon
orders = [1 + 0.02 * 1.001**step for step in range(20000)]
rows = []
for rho in json.loads(sys.argv[1]):
    exact = PLDAccountant().compose(GaussianDpEvent(1 / math.sqrt(2 * rho)))
    for delta in json.loads(sys.argv[2]):
        epsilon, _ = compute_epsilon(orders, [order * rho for order in orders], delta)
        rows.append({"rho": rho, "delta": delta, "renyi": epsilon, "gaussian": exact.get_epsilon(delta)})
print(json.dumps(rows))
"""


def main() -> None:
    """Make the environment, ask, and write."""
    place = ROOT / "build" / "oracle"
    python = place / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, f"dp-accounting=={VERSION}"], check=True)
    asked = [python, "-c", PROGRAM, json.dumps(RHOS), json.dumps(DELTAS)]
    answer = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    document = {"accountant": f"dp-accounting {VERSION}", "rows": json.loads(answer)}
    OUTPUT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
