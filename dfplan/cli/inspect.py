"""``dfplan inspect``."""

from __future__ import annotations

import json


def inspect(checkpoint: str) -> None:
    """Print the description in a checkpoint as JSON.

    Args:
        checkpoint: name of a shipped checkpoint, a file, or the folder of a training.
    """
    from dfplan.pretrained import read_checkpoint  # here, because the help needs no PyTorch

    print(json.dumps(read_checkpoint(checkpoint).describe(), indent=2))
