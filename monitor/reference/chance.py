"""One seed, and chance for each purpose that is independent of the others'."""

import numpy as np

SPLIT, ANSWER, PAIRING, NULLS = range(4)


def seed_for(seed: int, purpose: int) -> int:
    """Seed of what is drawn for one purpose."""
    return int(np.random.SeedSequence([seed, purpose]).generate_state(1)[0])
