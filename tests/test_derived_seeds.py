from __future__ import annotations

from typing import get_args

import numpy as np

from src.runtime.seeds import Purpose, derived_seed

PURPOSES = get_args(Purpose)


def test_seeds_are_those_of_the_children_of_one_seed_sequence() -> None:
    for seed in (0, 7, 2**32 - 1):
        children = np.random.SeedSequence(seed).spawn(len(PURPOSES))
        expected = [int(child.generate_state(1)[0]) for child in children]
        assert [derived_seed(seed, purpose) for purpose in PURPOSES] == expected


def test_no_two_purposes_or_seeds_have_the_same_seed() -> None:
    seeds = {derived_seed(seed, purpose) for seed in range(1000) for purpose in PURPOSES}
    assert len(seeds) == 1000 * len(PURPOSES)
