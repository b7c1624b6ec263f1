"""Write the protocol's test vectors, good and bad side by side, to tests/vectors.

    python scripts/make_vectors.py

Everything follows from constants, so the same code gives the same files. Bytes are written in hexadecimal, field
elements in decimal text; a bad vector names the class of the error it must raise. Sealing takes its randomness from
the library, so HPKE is here in the opening direction only; what is opened was sealed, by RFC 9180's own words, with a
fixed ephemeral key.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.vectors import codec, masks, messages, rosters, sealing, tags  # noqa: E402

OUTPUT = ROOT / "tests" / "vectors"
KINDS = {
    "canonical": messages.canonical_vectors,
    "codec": codec.codec_vectors,
    "expander": masks.expander_vectors,
    "hpke": sealing.hpke_vectors,
    "keys": masks.key_vectors,
    "masking": masks.masking_vectors,
    "messages": messages.message_vectors,
    "roster": rosters.roster_vectors,
    "statements": rosters.statement_vectors,
    "tags": tags.tag_vectors,
}


def files() -> dict[str, str]:
    """Return every file of vectors, name to content."""
    return {f"{name}.json": json.dumps(make(), indent=1) + "\n" for name, make in KINDS.items()}


if __name__ == "__main__":
    OUTPUT.mkdir(exist_ok=True)
    for name, text in files().items():
        (OUTPUT / name).write_text(text)
