"""Write the JSON schema of results.json: ``python scripts/results_schema.py`` in the repository."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from server.app.results import Results

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "docs" / "reference" / "results.schema.json"


def schema() -> str:
    """Return the schema as the file has it."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Results.model_json_schema()}
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), "utf-8")
    print(SCHEMA.relative_to(ROOT))
