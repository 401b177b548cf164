"""What is checked of several settings of an experiment together, or has limits of its own."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from flowlid.wording import brief

_AMOUNTS = ("warp", "tilt", "equalization", "gain")
_CHANNEL = ("tilt", "equalization", "gain", "noise_floor")


def check_augmentation(values: Mapping[str, Any], where: str) -> None:
    """Check the section `augmentation` of {"section.key": value}; `where` begins the messages.

    Raises:
        ValueError: a range that makes no sense, or changes that the preparation of the frames does not allow.
    """
    asked = {key.removeprefix("augmentation."): value for key, value in values.items() if key.startswith("augmen")}
    for name in _AMOUNTS:
        if not 0 <= asked[name] < math.inf:
            raise ValueError(f"{where}: augmentation.{name} must be 0 or more, not {asked[name]}")
    if asked["warp"] >= 0.5:
        raise ValueError(f"{where}: augmentation.warp must be below 0.5, not {asked['warp']}; voices differ by 0.1")
    levels = asked["noise_floor"]
    if levels is not None and not (len(levels) == 2 and -math.inf < levels[0] <= levels[1] < math.inf):
        what = f"two levels, the lowest and the highest, not {brief(levels)}"
        raise ValueError(f"{where}: augmentation.noise_floor must be {what}")
    for names, reason in _conflicts(values):
        for name in names:
            if asked[name]:
                raise ValueError(f"{where}: augmentation.{name} does not go with {reason}; leave one of them out")


def _conflicts(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Augmentations that do not go with a configuration, and why."""
    cmvn, with_variance = values["frames.cmvn"], values["frames.norm_vars"]
    if cmvn == "speaker" or (cmvn == "utterance" and with_variance):
        more = ", frames.norm_vars: true" if with_variance else ""
        yield ("warp", *_CHANNEL), f"frames.cmvn: {cmvn}{more}, whose statistics it would change"
    elif cmvn == "utterance":
        yield _CHANNEL, "frames.cmvn: utterance, which takes the channel away"
    if values.get("frames.floor") is not None:
        yield _CHANNEL, "frames.floor, which it would move in training alone"
    if values.get("frames.level") is not None:
        yield ("gain",), "frames.level, which evens the levels out"
