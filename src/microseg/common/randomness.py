"""Independent random streams, all from the one seed of params.yaml."""

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the random generator of one purpose, such as ("split",) or ("synthetic", 17).

    Streams of different purposes are independent, and none depends on how much another one was used: drawing
    one more number for the split changes no micrograph.
    """
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "little") for part in purpose]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
