"""Copies of utterances of training with another speed, noise or room, made by lhotse; manifests to manifests.

A copy keeps all that sets.yaml selects by, but its part has the kind of copy behind it ("train-sp0.9"), and `copy_of`
names the original. So a set has copies only if it asks for them, and what must be disjoint stays so.
"""

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording, RecordingSet
from lhotse.audio.mixer import AudioMixer
from lhotse.augmentation import ReverbWithImpulseResponse, Speed
from lhotse.supervision import SupervisionSegment

from flowlid.audio.headers import open_recording
from flowlid.audio.samples import read_audio
from flowlid.corpora.corpus import write_jsonl
from flowlid.corpora.sets import COPY_OF
from flowlid.files import atomic_write

log = logging.getLogger("flowlid")

NAME = "augmented"  # of the manifests of copies, and of the directory of their sounds
_PARTS = ("part", "set")  # fields that say on which side of the split an utterance is
_SLOWEST, _FASTEST = 0.5, 2.0


@dataclass(frozen=True)
class Kind:
    """A kind of copy: what follows the names of utterances, and how samples (n,) at a rate in Hz become others.

    Whatever is random in `change` follows the generator.
    """

    suffix: str
    change: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def speed(factor: float) -> Kind:
    """Speed and with it pitch times `factor`, as `sox speed`; ValueError for a factor that no speech has."""
    if not _SLOWEST <= factor <= _FASTEST or factor == 1:
        raise ValueError(f"speed {factor:g}: a factor from {_SLOWEST:g} to {_FASTEST:g} other than 1, such as 0.9")
    return Kind(f"sp{factor:g}", lambda samples, rate, _: Speed(factor)(samples[np.newaxis], rate)[0])


def noise(recordings: RecordingSet, snr: tuple[float, float]) -> Kind:
    """A stretch of one of these recordings (first channel; repeated if too short) at an SNR in this range of dB."""
    if not -math.inf < snr[0] <= snr[1] < math.inf:
        raise ValueError(f"signal-to-noise ratio {snr[0]:g} to {snr[1]:g} dB: give the lower one first")
    return Kind("noise", partial(_add_noise, list(recordings), snr))


def reverberation(recordings: RecordingSet) -> Kind:
    """One of these impulse responses of rooms, its first channel; the energy stays."""
    return Kind("reverb", partial(_reverberate, list(recordings)))


def read_sounds(path: Path) -> RecordingSet:
    """A lhotse manifest of recordings, such as `lhotse prepare musan` or `rir-noise` makes.

    Raises:
        ValueError: no such manifest, or an empty one.
    """
    try:
        found = RecordingSet.from_file(path).to_eager()
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a lhotse manifest of recordings ({error!r})") from error
    if not len(found):
        raise ValueError(f"{path}: no recording in it")
    return found


def originals(supervisions: Mapping[str, SupervisionSegment], part: str) -> list[SupervisionSegment]:
    """The utterances of a part of training, without copies; ValueError if there are none, or it is not of training."""
    if not part.startswith("train"):
        raise ValueError(f"part {part!r}: only training is augmented; dev and test sets stay as they are recorded")
    known = {str((item.custom or {}).get("part")) for item in supervisions.values()}
    found = [item for item in supervisions.values() if (item.custom or {}).get("part") == part]
    if not found:
        raise ValueError(f"no utterance has part {part!r}; there are {' '.join(sorted(known))}")
    return [item for item in found if COPY_OF not in item.custom]


def write_copies(
    items: Iterable[SupervisionSegment],
    recordings: Mapping[str, Recording],
    kinds: Iterable[Kind],
    out_dir: Path,
    seed: int,
    jobs: int,
    allow_pipes: bool,
) -> int:
    """Write the sounds of all copies, `../audio/augmented/*.wav` seen from `out_dir`, and there their manifests.

    What a copy is depends on its original, its kind, the seed and the order of the noises or rooms alone.

    Args:
        items: the originals, of one recording each.
        recordings: of all of them, by id.
        kinds: of copies to be made of each.
        out_dir: where the manifests go.
        seed: of random choices.
        jobs: copies made at a time.
        allow_pipes: whether a command may be run that decodes a recording.

    Returns:
        The number of copies.

    Raises:
        ValueError: a sound that cannot be read, or a kind twice.
    """
    kinds = list(kinds)
    twice = [name for name, count in Counter(kind.suffix for kind in kinds).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]}: a kind of copy that is asked for twice; name it once")
    audio = out_dir.absolute().parent / "audio" / NAME
    audio.mkdir(parents=True, exist_ok=True)
    wanted = [(item, kind) for item in items for kind in kinds]

    def copy(pair: tuple[SupervisionSegment, Kind]) -> tuple[Recording, SupervisionSegment]:
        return _copy(*pair, recordings[pair[0].recording_id], audio, seed, allow_pipes)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        made = sorted(pool.map(copy, wanted), key=lambda pair: pair[1].id)
    supervisions = out_dir / f"{NAME}_supervisions.jsonl.gz"
    supervisions.unlink(missing_ok=True)  # of an earlier call: without their recordings nothing here could be read
    write_jsonl(out_dir / f"{NAME}_recordings.jsonl.gz", (recording.to_dict() for recording, _ in made))
    write_jsonl(supervisions, (item.to_dict() for _, item in made))
    for path in audio.glob("*.wav"):  # of an earlier run with other options
        if path.stem not in {item.id for _, item in made}:
            path.unlink()
    return len(made)


def _copy(
    item: SupervisionSegment, kind: Kind, recording: Recording, audio: Path, seed: int, allow_pipes: bool
) -> tuple[Recording, SupervisionSegment]:
    name, rate = f"{item.id}-{kind.suffix}", recording.sampling_rate
    (source,) = recording.sources
    specifier = source.source if source.type == "file" else f"{source.source} |"
    end = item.end if item.end < recording.duration else None
    samples, _ = read_audio(specifier, f"utterance {item.id}", rate, item.start, end, allow_pipes)
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    changed = kind.change(samples, rate, np.random.default_rng(int.from_bytes(digest[:8], "little")))
    changed = changed / max(1.0, np.abs(changed).max() * 32768 / 32767)  # quieter rather than cut off
    path = audio / f"{name}.wav"
    with atomic_write(path, "w+b") as file:
        soundfile.write(file, changed, rate, "PCM_16", format="WAV")
    made = open_recording(path, name)
    custom = item.custom | {field: f"{item.custom[field]}-{kind.suffix}" for field in _PARTS if field in item.custom}
    custom[COPY_OF] = item.id
    return made, replace(item, id=name, recording_id=name, start=0.0, duration=made.duration, custom=custom)


def _add_noise(
    recordings: list[Recording],
    snr: tuple[float, float],
    samples: np.ndarray,
    rate: int,
    generator: np.random.Generator,
) -> np.ndarray:
    chosen = recordings[generator.integers(len(recordings))]
    sound = _first_channel(chosen, rate)
    start = generator.integers(len(sound))
    stretch = np.resize(np.roll(sound, -start), len(samples))
    if not stretch.any():
        stretch = np.resize(sound[sound.nonzero()[0][0] :], len(samples))
    mixer = AudioMixer(samples[np.newaxis], rate)
    mixer.add_to_mix(stretch[np.newaxis], snr=float(generator.uniform(*snr)))
    return mixer.mixed_audio[0]


def _reverberate(
    recordings: list[Recording], samples: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    room = recordings[generator.integers(len(recordings))]
    _first_channel(room, rate)  # it can be read, and is not silent
    return ReverbWithImpulseResponse(rir=room.resample(rate))(samples[np.newaxis], rate)[0]


def _first_channel(recording: Recording, rate: int) -> np.ndarray:
    """Samples (n,) of a noise or impulse response at a rate."""
    try:
        samples = recording.resample(rate).load_audio(channels=recording.channel_ids[0])[0]
    except Exception as error:
        raise ValueError(f"recording {recording.id}: cannot be read ({error}); correct its manifest") from error
    if not samples.any():
        raise ValueError(f"recording {recording.id}: silent; take it out of its manifest")
    return samples
