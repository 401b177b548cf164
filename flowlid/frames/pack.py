"""Features of a data directory, normalized and packed once into files that are mapped, not read, into memory.

They are in `data/<set>/packed/`, which may be removed at any time: what is needed is made again.
"""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter1d
from torch import Tensor

from flowlid.config import FramesConfig
from flowlid.frames.mapped import Arrays, made
from flowlid.kaldi.arks import ark_path, is_pipe
from flowlid.kaldi.cmvn import apply_cmvn, check_dim, cmvn_stats, speaker_cmvn
from flowlid.kaldi.datadir import DataDir

_FORMAT = 1  # of the arrays: other ones must not be taken for them
_Write = Callable[[Path], dict[str, Any]]
log = logging.getLogger("flowlid")


@dataclass
class Packed:
    """All frames of a data directory and a selection of them; the arrays are mapped, and not to be written to.

    Attributes:
        feats: (sum of T, F) normalized float32 features of all utterances, voiced or not, in C order of their names.
        ends: (U,) row of `feats` behind the last one of each utterance.
        kept: numbers of the utterances with a selected frame, ascending.
        index: (N,) rows of `feats` that were selected, ascending.
        utt_of: (N,) for each of them the number of its utterance among `kept`.
        silent: number of the first utterance without voiced frame, or None.
        digest: checksum of features and selection.
    """

    feats: Tensor
    ends: Tensor
    kept: Tensor
    index: Tensor
    utt_of: Tensor
    silent: int | None
    digest: str


def pack(
    data: DataDir,
    config: FramesConfig,
    global_stats: np.ndarray | None = None,
    allow_pipes: bool = False,
    select: str = "speech",
    step: int = 1,
) -> Packed:
    """Map the packed features of a data directory, made first if they are not there or their sources changed.

    Memory stays that of an utterance. Where the directory cannot be written to, the files are made in a temporary
    place and unlinked as soon as they are mapped. Arguments as for `frames.load_frames`, but for `step`: every
    `step`-th selected frame of an utterance is kept.

    Raises:
        ValueError: as `frames.load_frames`.
    """
    vad = config.vad or select == "nonspeech"
    what, signature = _name(config, global_stats, vad), _signature(data, config, vad)
    # what a command will give is not known before it runs: such a pack serves once
    place = None if signature is None else data.path / "packed"
    write = _features_writer(data, config, global_stats, allow_pipes, vad)
    arrays, meta = made(place, what, signature, write)
    packed = Packed(**arrays, silent=meta["silent"], digest=meta["digest"])
    if (select, step) == ("speech", 1):
        return packed
    width = 2 * config.context + 1 if select == "nonspeech" else 0
    selection = f"{what}_{select}{config.context if width else ''}_every{step}"
    arrays, meta = made(place, selection, signature, _selection_writer(packed, width, step))
    return Packed(packed.feats, packed.ends, **arrays, silent=packed.silent, digest=meta["digest"])


def _name(config: FramesConfig, global_stats: np.ndarray | None, vad: bool) -> str:
    parts = [config.cmvn]
    if config.cmvn == "global":  # experiments with other training sets use the same test sets
        parts.append(hashlib.sha256(np.ascontiguousarray(global_stats).tobytes()).hexdigest()[:8])
    parts += ["vars"] if config.norm_vars and config.cmvn != "none" else []
    return "_".join([*parts, "vad" if vad else "all"])


def _signature(data: DataDir, config: FramesConfig, vad: bool) -> str | None:
    """A checksum of the tables that a pack is made from, and of size and time of the archives that they point to.

    None where one of them is a command.
    """
    digest = hashlib.sha256(f"{_FORMAT}\n".encode())
    for name in ["feats.scp"] + ["vad.scp"] * vad + ["cmvn.scp", "utt2spk"] * (config.cmvn == "speaker"):
        archives = set()
        for key, value in data.table(name).items():
            digest.update(f"{key} {value}\n".encode())
            if name.endswith(".scp"):
                if is_pipe(value):
                    return None
                archives.add(ark_path(value))
        for path in sorted(archives - {None}):
            with contextlib.suppress(OSError):  # of what is missing the reading will tell
                stat = os.stat(path)
                digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _features_writer(
    data: DataDir, config: FramesConfig, global_stats: np.ndarray | None, allow_pipes: bool, vad: bool
) -> _Write:
    def write(place: Path) -> dict[str, Any]:
        began, end, silent = time.monotonic(), 0, None
        log.info("%s: packing %d utterances", data.path, len(data.table("feats.scp")))
        utterances = _utterances(data, config, global_stats, allow_pipes, vad)
        with Arrays(place, ("feats", "ends", "kept", "index", "utt_of")) as arrays:
            for number, (x, voiced) in enumerate(utterances):
                arrays.add("feats", x)
                arrays.add("index", voiced + end)
                arrays.add("utt_of", np.full(len(voiced), number))
                arrays.add("kept", np.array([number]))
                end += len(x)
                arrays.add("ends", np.array([end]))
                silent = number if silent is None and not len(voiced) else silent
            meta = arrays.finish()
        seconds = time.monotonic() - began
        log.info("%s: packed %d frames of %d utterances in %.1f s", data.path, end, number + 1, seconds)
        return {"format": _FORMAT, "silent": silent, **meta}

    return write


def _utterances(
    data: DataDir, config: FramesConfig, global_stats: np.ndarray | None, allow_pipes: bool, vad: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each utterance the normalized features (T, F) and the numbers of its voiced frames (all without VAD)."""
    speaker_stats = speaker_cmvn(data, allow_pipes) if config.cmvn == "speaker" else {}
    dim = None
    for utt in sorted(data.table("feats.scp")):
        x = data.feats(utt, allow_pipes)
        dim = dim or x.shape[1]
        check_dim(data, utt, x, dim, "where those before it have")
        voiced = np.flatnonzero(_vad(data, utt, len(x), allow_pipes)) if vad else np.arange(len(x))
        stats = {"speaker": speaker_stats.get(data.table("utt2spk")[utt]), "global": global_stats}.get(config.cmvn)
        if stats is not None:
            check_dim(data, utt, x, stats.shape[1] - 1, f"but the {config.cmvn} statistics (frames.cmvn) have")
        yield _normalize(x, stats, config), voiced


def _vad(data: DataDir, utt: str, length: int, allow_pipes: bool) -> np.ndarray:
    vad = data.vad(utt, allow_pipes)
    if len(vad) != length:
        raise ValueError(
            f"{data.path}/vad.scp: utterance {utt}: {len(vad)} decisions for {length} frames of features; "
            "compute both from the same audio with the same frame shift (stage 2)"
        )
    return vad


def _normalize(x: np.ndarray, stats: np.ndarray | None, config: FramesConfig) -> np.ndarray:
    if config.cmvn == "none":
        return x.astype(np.float32)
    return apply_cmvn(x, cmvn_stats(x) if config.cmvn == "utterance" else stats, config.norm_vars)


def _selection_writer(packed: Packed, width: int, step: int) -> _Write:
    """Select every `step`-th voiced frame of each utterance; or of those in the middle of `width` unvoiced ones.

    An utterance without any is left out.
    """

    def write(place: Path) -> dict[str, Any]:
        ends, index = packed.ends.numpy(), packed.index.numpy()
        bounds, start, count = np.searchsorted(index, ends, side="left").tolist(), 0, 0
        with Arrays(place, ("kept", "index", "utt_of")) as arrays:
            for number, end in enumerate(ends.tolist()):
                chosen = index[bounds[number - 1] if number else 0 : bounds[number]] - start
                chosen = (_unvoiced(chosen, end - start, width) if width else chosen)[::step]
                if len(chosen):
                    arrays.add("kept", np.array([number]))
                    arrays.add("index", chosen + start)
                    arrays.add("utt_of", np.full(len(chosen), count))
                    count += 1
                start = end
            meta = arrays.finish()
        return {
            "format": _FORMAT,
            **meta,
            "digest": hashlib.sha256((packed.digest + meta["digest"]).encode()).hexdigest()[:32],
        }

    return write


def _unvoiced(voiced: np.ndarray, length: int, width: int) -> np.ndarray:
    """The frames of an utterance that are in the middle of `width` frames without a voiced one."""
    mask = np.zeros(length, np.uint8)
    mask[voiced] = 1
    return np.flatnonzero(maximum_filter1d(mask, width, mode="nearest") == 0)
