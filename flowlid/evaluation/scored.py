"""What scoring wrote of a set, read back: later steps need no model and no frames."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowlid.evaluation.decisions import class_numbers
from flowlid.evaluation.reuse import digest, made_from
from flowlid.files import read_json
from flowlid.kaldi.arks import read_matrix, read_vector
from flowlid.kaldi.tables import read_table
from flowlid.wording import some

ARCHIVES = ("mean_latents", "blocks")  # an ark and an scp file each, of every utterance
_FIX = "score the set again (stage 4 with --overwrite true)"


@dataclass
class ScoredSet:
    """U scored utterances.

    Attributes:
        utts: their names.
        languages: their languages.
        classes: the K classes of the model.
        frames: (U,) selected frames.
        mean_loglik: (U, K) log p(x | y) per frame in nats, to the six decimals of utt2loglik.
        mean_latents: (U, D) mean latent of each utterance's selected frames, float32.
        block: frames of a block, a second.
        blocks: (B, K + D) mean log-likelihoods and latent of each block of an utterance, the last of which may be
            shorter; float32.
        unseen: languages of the set that were not in training.
    """

    utts: list[str]
    languages: list[str]
    classes: list[str]
    frames: NDArray[np.int64]
    mean_loglik: NDArray[np.float64]
    mean_latents: NDArray[np.float32]
    block: int = 100
    blocks: list[NDArray[np.float32]] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each utterance, -1 where its language was not in training: (U,). One class has all languages."""
        if len(self.classes) == 1:
            return np.array([-1 if language in self.unseen else 0 for language in self.languages])
        return class_numbers(self.languages, self.classes)

    def pieces(self, seconds: int) -> "ScoredSet":
        """Pieces of so many seconds, one after the other, as utterances of their own that have their utterance's name.

        What is left at the end of an utterance is in none.
        """
        length, cut = seconds * self.block, []
        for count, own in zip(self.frames, self.blocks, strict=True):
            whole = count // length
            cut.append(own[: whole * seconds].reshape(whole, seconds, own.shape[1]).mean(axis=1, dtype=float))
        of, values = np.repeat(np.arange(len(cut)), [len(own) for own in cut]), np.concatenate(cut)
        classes = len(self.classes)
        return ScoredSet(
            [self.utts[n] for n in of],
            [self.languages[n] for n in of],
            self.classes,
            np.full(len(of), length),
            values[:, :classes],
            values[:, classes:].astype(np.float32),
            self.block,
            unseen=self.unseen,
        )


def read_scored(path: Path) -> ScoredSet:
    """Read a directory score_<set> of an experiment.

    Raises:
        FileNotFoundError: the set was not scored, or by a flowlid that did not write all of it.
        ValueError: a file is damaged; it is named.
    """
    for name in ("result.json", "utt2num_frames", *(f"{name}.scp" for name in ARCHIVES)):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path / name}: no such file; score the set first (stage 4)")
    loglik = read_table(path / "utt2loglik")
    archives = {name: read_table(path / f"{name}.scp") for name in ARCHIVES}
    languages = read_table(path / "utt2lang")
    frames = read_table(path / "utt2num_frames")
    if any(table.keys() != loglik.keys() for table in (*archives.values(), languages, frames)):
        raise ValueError(f"{path}: its files are not of the same utterances; {_FIX}")
    # the archive beside the scp file, wherever the experiment was moved since
    places = {
        name: [(f"{path}/{name}.ark:{place.rpartition(':')[2]}", utt) for utt, place in table.items()]
        for name, table in archives.items()
    }
    try:
        values = np.array([row.strip("[] ").split() for row in loglik.values()], dtype=float)
        means = np.stack([read_vector(*place) for place in places["mean_latents"]])
        blocks = [read_matrix(*place) for place in places["blocks"]]
    except ValueError as error:
        raise ValueError(f"{path}: utt2loglik, mean_latents.ark or blocks.ark is damaged; {_FIX}") from error
    result = read_json(path / "result.json")
    counts = np.array([int(count) for count in frames.values()])
    return ScoredSet(
        list(loglik), list(languages.values()), result["classes"], counts, values, means, result["block"], blocks,
        result["unseen"],
    )  # fmt: skip


def read_own(exp: Path, name: str) -> ScoredSet:
    """What the model that is in an experiment's directory made of a set.

    Raises:
        FileNotFoundError, ValueError: as `read_scored`; or it was scored with another model.
    """
    path = exp / f"score_{name}"
    found, made = read_scored(path), made_from(path)
    if made and made["model"] != digest(exp / "final.pt"):
        raise ValueError(f"{path}: scores of another model than {exp}/final.pt; score the set again (stage 4)")
    return found


def read_decisions(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The languages of a scored set's utterances, and what they were decided as; ValueError if one is missing."""
    languages, decided = read_table(path / "utt2lang"), read_table(path / "utt2pred")
    if languages.keys() != decided.keys():
        raise ValueError(f"{path}: utt2lang and utt2pred have different utterances; score the set again (stage 4)")
    return languages, decided


def read_background(path: Path, scored: ScoredSet) -> NDArray[np.float64]:
    """A normal flow's log-likelihood per frame of a set that another model scored, (U,), in nats.

    Args:
        path: the normal flow's directory score_<set>.
        scored: the same set under the other model.

    Raises:
        FileNotFoundError: the background experiment has not scored the set.
        ValueError: other utterances, or a model of several classes.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path}: no such directory; name the set in data.tests of the background experiment {path.parent.name}, "
            "and run its stages 3 and 4 first"
        )
    background = read_scored(path)
    if len(background.classes) != 1:
        raise ValueError(f"{path}: a background has one class, not {some(background.classes)}; take a normal flow (nf)")
    if background.utts != scored.utts:
        raise ValueError(
            f"{path}: it has other utterances than the set has now; score both experiments again (stage 4)"
        )
    return background.mean_loglik[:, 0]
