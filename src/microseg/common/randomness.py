"""Independent random streams from one seed of params.yaml."""

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the random generator for one purpose, such as ("split",) or ("synthetic", 17).

    Streams for different purposes are independent of each other and of how much each was used: drawing one more
    number for the split changes no micrograph.
    """
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "little") for part in purpose]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
