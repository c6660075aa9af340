"""``dfplan inspect``."""

from __future__ import annotations

import json

from dfplan.pretrained import read_checkpoint


def inspect(checkpoint: str) -> None:
    """Print what a checkpoint says of itself, as JSON.

    Args:
        checkpoint: name of a shipped one, a file, or a run's folder.
    """
    print(json.dumps(read_checkpoint(checkpoint).describe(), indent=2))
