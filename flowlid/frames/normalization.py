"""The normalization of a set's utterances: a shift and a scale of the features of each."""

from collections.abc import Iterator, Sequence

import numpy as np

from flowlid.config import FramesConfig
from flowlid.frames.floor import floor_of, floored
from flowlid.frames.pack import Pack, mapped, open_or_build
from flowlid.kaldi.cmvn import check_dim, cmvn_stats, shift_and_scale, speaker_cmvn
from flowlid.kaldi.datadir import DataDir

_UTTERANCES = 1000  # whose shift and scale are computed at once


def normalization(
    data: DataDir,
    config: FramesConfig,
    pack: Pack,
    utts: Sequence[str],
    numbers: np.ndarray,
    global_stats: np.ndarray | None = None,
    allow_pipes: bool = False,
) -> np.ndarray | None:
    """Shift and, with `config.norm_vars`, scale of each of these utterances: (U, 1 or 2, F) float64, mapped.

    Args:
        data: the directory, with cmvn.scp if `config.cmvn` is "speaker" and features are used as they are.
        config: what kind of normalization.
        pack: of the directory.
        utts, numbers: names of the U utterances, and where they are in the pack.
        global_stats: (2, F + 1) statistics if `config.cmvn` is "global".
        allow_pipes: whether cmvn.scp may have shell commands.

    Returns:
        None if `config.cmvn` is "none".

    Raises:
        ValueError: statistics of another dimension than the features, and as `speaker_cmvn`.
    """
    if config.cmvn == "none":
        return None
    if config.cmvn == "utterance":
        table, row_of = statistics(data, config, pack), numbers
    else:
        utt2spk = data.table("utt2spk")
        stats = {"all": global_stats} if config.cmvn == "global" else _of_speakers(data, config, pack, allow_pipes)
        owners = ["all" if config.cmvn == "global" else utt2spk[utt] for utt in utts]
        for utt, owner in zip(utts, owners, strict=True):
            wanted = stats[owner].shape[1] - 1
            check_dim(data, utt, pack.feats.shape[1], wanted, f"but the {config.cmvn} statistics (frames.cmvn) have")
        names, row_of = np.unique(owners, return_inverse=True)
        table = np.stack([stats[name] for name in names])

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, len(row_of), _UTTERANCES):
            shift, scale = shift_and_scale(table[row_of[start : start + _UTTERANCES]], config.norm_vars)
            yield np.stack([shift] if scale is None else [shift, scale], axis=1)

    return mapped(parts())


def global_cmvn(data: DataDir, config: FramesConfig, allow_pipes: bool = False) -> np.ndarray:
    """CMVN statistics of all frames of a data directory: (2, F + 1) float64; raises as `open_or_build`."""
    return statistics(data, config, open_or_build(data, allow_pipes)).sum(0)


def statistics(data: DataDir, config: FramesConfig, pack: Pack) -> np.ndarray:
    """CMVN statistics of all utterances of a pack, with the experiment's level and floor: (U, 2, F + 1), mapped."""
    floor = floor_of(config, pack, sorted(data.table("feats.scp")), np.arange(len(pack.ends)))
    return pack.stats if floor is None else mapped(cmvn_stats(x)[np.newaxis] for x in floored(pack, floor))


def _of_speakers(data: DataDir, config: FramesConfig, pack: Pack, allow_pipes: bool) -> dict[str, np.ndarray]:
    """Statistics of each speaker: those in cmvn.scp, which are of features as they are, or else with their floor."""
    if not config.floored:
        return speaker_cmvn(data, allow_pipes)
    utt2spk, stats = data.table("utt2spk"), statistics(data, config, pack)
    speakers, speaker_of = np.unique([utt2spk[utt] for utt in sorted(data.table("feats.scp"))], return_inverse=True)
    sums = np.zeros((len(speakers), *stats.shape[1:]))
    np.add.at(sums, speaker_of, stats)
    return dict(zip(speakers.tolist(), sums, strict=True))
