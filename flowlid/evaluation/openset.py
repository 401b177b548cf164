"""Open set: is an utterance of one of the model's classes at all, or is the answer "unknown"?

Three statistics of an utterance are each compared with those of the dev set's utterances of the same decision and of
like duration (`typicality`); all of them grow with strangeness:

- `shift`: log of the mean square distance of its mean latent from the centre of its class, the mean of the dev set's;
- `margin`: minus the lead of its best class over the second best, nats per frame (two or more classes);
- `loglik`: minus its log-likelihood per frame under its best class, or, with a background flow, minus its
  log-likelihood ratio to that one (after Ren et al., "Likelihood ratios for out-of-distribution detection", 2019).

Of the standardized deviations z_i the sum of -log Q(z_i), Q the upper tail of the normal distribution, is the
utterance's surprise (Fisher's combination of p-values), and its typicality is the share of dev utterances that are as
surprising: a p-value that holds whatever the distribution is, as long as utterances are like those of the dev set.
No example of anything unknown is needed.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

from flowlid.evaluation.scored import ScoredSet
from flowlid.evaluation.typicality import Law, fit_law
from flowlid.files import read_json
from flowlid.wording import some

RATE = 0.05  # false rejections on the dev set
UNKNOWN = "unknown"
Array = NDArray[np.float64]


@dataclass(frozen=True)
class OpenSet:
    """What an utterance's statistics are compared with.

    Attributes:
        classes: the K classes, in the model's order.
        centres: (K, D) mean latents of the classes.
        laws: statistic -> its law on the dev set.
        surprises: (n,) of the dev set's utterances, ascending.
        background: the experiment whose log-likelihoods all methods need; None: none.
    """

    classes: tuple[str, ...]
    centres: Array
    laws: Mapping[str, Law]
    surprises: Array
    background: str | None = None

    def to_dict(self, model: str) -> dict[str, Any]:
        """What openset.json holds (`read_openset`); `model` is the digest of the model that it is of."""
        return {
            "model": model,
            "classes": list(self.classes),
            "background": self.background,
            "laws": {name: asdict(law) for name, law in self.laws.items()},
            "centres": self.centres.tolist(),
            "surprises": self.surprises.tolist(),
        }

    def deviations(
        self, mean_loglik: ArrayLike, frames: ArrayLike, mean_latents: ArrayLike, background: ArrayLike | None = None
    ) -> dict[str, Array]:
        """Standardized deviation (U,) of each statistic.

        Args:
            mean_loglik: log p(x | y) per frame of each class in nats, (U, K).
            frames: selected frames of each utterance, (U,).
            mean_latents: mean latent of each utterance's selected frames, (U, D).
            background: log p(x) per frame under the background flow, (U,); only if there is one.

        Raises:
            ValueError: shapes that do not fit, or a background where there is none, or none where there is one.
        """
        if (background is None) != (self.background is None):
            raise ValueError(f"open set: needs the log-likelihoods of its background flow: {self.background or 'none'}")
        values, decided = statistics(self.centres, mean_loglik, mean_latents, background)
        return {name: self.laws[name](x, frames, decided) for name, x in values.items()}

    def surprise(
        self, mean_loglik: ArrayLike, frames: ArrayLike, mean_latents: ArrayLike, background: ArrayLike | None = None
    ) -> Array:
        """Fisher's combination of the deviations, (U,); arguments as of `deviations`."""
        return _combined(self.deviations(mean_loglik, frames, mean_latents, background))

    def typicality(
        self, mean_loglik: ArrayLike, frames: ArrayLike, mean_latents: ArrayLike, background: ArrayLike | None = None
    ) -> Array:
        """Share of dev utterances that are as surprising or more, (U,), above 0; arguments as of `deviations`."""
        surprise = self.surprise(mean_loglik, frames, mean_latents, background)
        more = len(self.surprises) - np.searchsorted(self.surprises, surprise)
        return (1 + more) / (1 + len(self.surprises))

    def rejects(
        self,
        mean_loglik: ArrayLike,
        frames: ArrayLike,
        mean_latents: ArrayLike,
        background: ArrayLike | None = None,
        rate: float = RATE,
    ) -> NDArray[np.bool_]:
        """Whether the answer is "unknown", (U,), at this rate of false rejections; arguments as of `deviations`."""
        return self.surprise(mean_loglik, frames, mean_latents, background) > self.threshold(rate)

    def threshold(self, rate: float = RATE) -> float:
        """The surprise above which typicality is at most `rate`; infinite where the dev set is too small for that."""
        beyond = math.floor(rate * (1 + len(self.surprises)) + 1e-9)
        return float(self.surprises[-beyond]) if beyond else math.inf


def statistics(
    centres: Array, mean_loglik: ArrayLike, mean_latents: ArrayLike, background: ArrayLike | None = None
) -> tuple[dict[str, Array], NDArray[np.int64]]:
    """The statistics (U,) of utterances by name, and the class numbers (U,) that they are decided as.

    Args:
        centres: (K, D).
        mean_loglik, mean_latents, background: as of `OpenSet.deviations`.
    """
    loglik, latents = np.asarray(mean_loglik, float), np.asarray(mean_latents, float)
    if loglik.ndim != 2 or loglik.shape[1] != len(centres) or latents.shape != (len(loglik), centres.shape[1]):
        raise ValueError(
            f"open set of {len(centres)} classes in {centres.shape[1]} dims: log-likelihoods {loglik.shape} and mean "
            f"latents {latents.shape} do not fit; fit it again (stage 4)"
        )
    decided = loglik.argmax(1)
    best = np.sort(loglik, axis=1)
    found = {"shift": np.log(((latents - centres[decided]) ** 2).mean(1) + 1e-12)}
    if loglik.shape[1] > 1:
        found["margin"] = best[:, -2] - best[:, -1]
    found["loglik"] = (0 if background is None else np.asarray(background)) - best[:, -1]
    return found, decided


def no_openset(dev: ScoredSet | None) -> str | None:
    """Why no open set can be fitted on a dev set; None if one can."""
    if dev is None:
        return "the experiment has no dev set"
    missing = [name for name, count in zip(dev.classes, _counts(dev), strict=True) if count < 2]
    if missing:
        return f"the dev set has fewer than two utterances of {some(missing)}"
    fewest, count = math.ceil(1 / RATE) - 1, int(_counts(dev).sum())
    return (
        f"{count} utterances of the dev set do not tell a rate of {RATE:g}: needs {fewest}" if count < fewest else None
    )


def fit_openset(dev: ScoredSet, background: str | None = None, background_loglik: ArrayLike | None = None) -> OpenSet:
    """The open set of a dev set; its utterances of other languages do not count.

    An utterance that a centre was made from is as far from it as from the mean of the class's others.

    Args:
        dev: has two utterances or more of every class (`no_openset`).
        background: name of the background experiment, and its log-likelihood per frame of all of the dev set's
            utterances, (U,).
    """
    labels = dev.labels
    seen = labels >= 0
    labels, count = labels[seen], _counts(dev)
    latents, loglik, frames = dev.mean_latents[seen].astype(float), dev.mean_loglik[seen], dev.frames[seen]
    other = None if background_loglik is None else np.asarray(background_loglik, float)[seen]
    centres = np.stack([latents[labels == k].mean(0) for k in range(len(count))])
    values, decided = statistics(centres, loglik, latents, other)
    without_it = 2 * np.log(count / (count - 1))
    values["shift"] += np.where(decided == labels, without_it[labels], 0.0)
    laws = {name: fit_law(x, frames, decided, len(count)) for name, x in values.items()}
    surprises = np.sort(_combined({name: laws[name](x, frames, decided) for name, x in values.items()}))
    return OpenSet(tuple(dev.classes), centres, laws, surprises, background)


def read_openset(path: Path, model: str) -> OpenSet:
    """The open set in a file openset.json.

    Args:
        path: the file.
        model: digest of the model whose scores are to be judged.

    Raises:
        ValueError: it is damaged, or of another model.
    """
    content = read_json(path)
    try:
        classes, laws = tuple(content["classes"]), {name: _law(law) for name, law in content["laws"].items()}
        centres, surprises = (np.array(content[name], float) for name in ("centres", "surprises"))
        own = {"shift", "loglik"} | ({"margin"} if len(classes) > 1 else set())
        if laws.keys() != own or not len(classes) == len(centres) or centres.ndim != 2 or not len(surprises):
            raise ValueError("its parts do not fit")
        if not isinstance(content["background"], str | None):
            raise ValueError("its background is no name")
        if any(len(law.means) != len(classes) or len(law.scales) != len(classes) for law in laws.values()):
            raise ValueError("its laws are of other classes")
        found, of = OpenSet(classes, centres, laws, surprises, content["background"]), content["model"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: no open set ({error!r}); remove it and run stage 4 again") from error
    if of != model:
        raise ValueError(f"{path}: the open set of another model ({of}, not {model}); run stage 4 again")
    return found


def _law(content: Mapping[str, Any]) -> Law:
    means, scales = (tuple(map(float, content[name])) for name in ("means", "scales"))
    return Law(means, float(content["slope"]), scales, float(content["frames"]))


def _combined(deviations: Mapping[str, Array]) -> Array:
    return -sum(log_ndtr(-z) for z in deviations.values())  # the upper tail's logarithm


def _counts(scored: ScoredSet) -> NDArray[np.int64]:
    return np.bincount(scored.labels[scored.labels >= 0], minlength=len(scored.classes))
