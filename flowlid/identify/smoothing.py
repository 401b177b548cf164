"""Which class speaks when: the most probable path of a Markov chain through what is found of the blocks of a recording.

At any moment the class may be drawn anew by the priors, on average once in D seconds; until then it stays. That it is
not drawn within d seconds has the probability r = exp(-d / D), so that

    P(k at t + d | j at t) = r [j = k] + (1 - r) prior_k,

a chain in continuous time, whose stationary law is the priors. A pause of d seconds is a step of that length: it needs
no evidence of its own. The path of highest probability is found by Viterbi's algorithm (1967).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def best_path(evidence: ArrayLike, times: ArrayLike, log_priors: ArrayLike, duration: float) -> NDArray[np.int64]:
    """The most probable class of each block, (B,), given all blocks.

    Args:
        evidence: log-likelihood of each class in each block, nats, up to a constant per block, (B, K).
        times: of the blocks, in seconds, ascending, (B,).
        log_priors: of the classes, which add up to 1, (K,).
        duration: D, the mean time between two choices, in seconds.
    """
    evidence, log_priors = np.asarray(evidence, float), np.asarray(log_priors, float)
    count, classes = evidence.shape
    turns = np.diff(np.asarray(times, float)) / duration
    kept, drawn = np.exp(-turns), -np.expm1(-turns)
    came_from = np.empty((count, classes), np.int32)
    score = log_priors + evidence[0]
    for t in range(1, count):
        moves = kept[t - 1] * np.eye(classes) + drawn[t - 1] * np.exp(log_priors)
        reached = score[:, None] + np.log(moves)
        came_from[t] = reached.argmax(0)
        score = reached.max(0) + evidence[t]
    path = np.empty(count, np.int64)
    path[-1] = score.argmax()
    for t in range(count - 1, 0, -1):
        path[t - 1] = came_from[t, path[t]]
    return path
