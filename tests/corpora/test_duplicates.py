"""flowlid.corpora.duplicates: copies of a recording are found whatever their gain, dither and length."""

import numpy as np
import pytest
from tools import speech

from flowlid.corpora.duplicates import Sound, find_repeated, find_shared, same_recording


class Named(Sound):
    def __init__(self, name: str, samples: np.ndarray) -> None:
        super().__init__(np.round(samples * 32767).astype(np.int16), 8000)
        self.name = name


A, B = speech(0.6, 1), speech(0.6, 2)
NOISE = np.random.default_rng(0).normal(size=A.size) * 1e-3


@pytest.mark.parametrize(
    ("copy", "same"),
    [
        (A, True),
        (0.3 * A, True),
        (A + NOISE, True),
        (A[100:], True),
        (np.concatenate([np.zeros(200), A]), True),
        (A[1000:], False),  # shorter by more than 50 ms
        (B, False),
        (A[::-1], False),
    ],
    ids="itself quieter dithered shorter later part other reversed".split(),
)
def test_what_is_the_same_recording(copy: np.ndarray, same: bool) -> None:
    assert same_recording(Named("a", A), Named("b", copy)) == same
    assert same_recording(Named("b", copy), Named("a", A)) == same


def test_repeated_sounds_are_those_of_the_first_by_name() -> None:
    c, a, b, other = Named("c", A), Named("a", 0.5 * A), Named("b", A[50:]), Named("d", B)
    assert find_repeated([c, other, b, a], lambda sound: sound.name) == {c: a, b: a}
    assert find_repeated([], lambda sound: sound.name) == {}


def test_shared_sounds_are_of_two_owners() -> None:
    x, y = Named("x1", A), Named("y1", A + NOISE)  # of one name but for the owner's letter
    own, under_another_name, other = Named("x2", A), Named("y3", A), Named("y2", B)
    found = find_shared([x, y, own, under_another_name, other], lambda s: s.name[0], lambda s: s.name[1])
    assert found == {x: y, y: x, own: under_another_name, under_another_name: x}
