"""Windows and segments of recordings that are spliced of recorded speech."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tools import SPEECH, write_wav

from flowlid.evaluation.openset import UNKNOWN
from flowlid.identify import windows
from flowlid.identify.answer import NO_SPEECH, Answer, Decider, Scores
from flowlid.identify.identifier import Identifier, load
from flowlid.identify.inputs import Inputs
from flowlid.identify.windows import Blocks, Timeline, identify_blocks, segments_of

ORDER = ("en", "es", "en", "es")


def splice(pause: float = 0.0, order: tuple[str, ...] = ORDER) -> tuple[np.ndarray, list[float]]:
    """Recorded speech in this order, each three times over, with pauses of silence; and where each begins."""
    parts, starts, place = [], [], 0
    for name in order:
        samples, rate = soundfile.read(SPEECH / f"{name}.wav", dtype="float32")
        starts.append(place / rate)
        for part in (samples, samples, samples, np.zeros(round(pause * rate), np.float32)):
            parts.append(part)
            place += len(part)
    return np.concatenate(parts), starts


@pytest.fixture(scope="module")
def model(experiment: Path) -> Identifier:
    return load(experiment, "cpu")


def blocks_of(path: list[str | None], llr: float = 0.6, frames: int = 10) -> Blocks:
    """Blocks of 0.1 s: "en" or "es", whose frames speak for it by `llr` nats, "it" for neither, or None: silence."""
    numbers = np.array([n for n, name in enumerate(path) if name])
    lead = np.array([{"en": llr, "es": -llr, "it": 0.0}[name] for name in path if name])
    mean = np.column_stack([lead - 50, np.full(len(lead), -50.0)])
    latents = np.column_stack([np.sign(lead), lead == 0]).astype(float)
    return Blocks(Scores(mean, np.full(len(lead), frames), latents), numbers, len(path), 10, 0.01)


def spans(blocks: Blocks, decider: Decider, window: float = 1.0) -> list[tuple[float, float, str]]:
    about = Answer("x", seconds=blocks.count * 0.1)
    return [(each.start, each.end, each.language) for each in segments_of(blocks, decider, window, about)]


BOTH = Decider(["en", "es"], None)


def test_segments_change_where_the_evidence_does_bridge_short_pauses_and_leave_long_ones() -> None:
    path = ["en"] * 20 + [None] * 4 + ["en"] * 6 + ["es"] * 15 + [None] * 5 + ["es"] * 10 + [None] * 2 + ["en"] * 9
    assert spans(blocks_of(path), BOTH) == [
        (0.0, 3.0, "en"), (3.0, 4.5, "es"), (5.0, 6.1, "es"), (6.1, 7.1, "en"),
    ]  # fmt: skip
    assert spans(blocks_of([None] * 7 + ["es"] * 3 + [None] * 20), BOTH) == [(0.7, 1.0, "es")]
    assert spans(Blocks(None, np.zeros(0, int), 5, 10, 0.01), BOTH) == []


def test_a_window_longer_than_the_recording_is_the_recording() -> None:
    blocks = blocks_of(["en"] * 20 + ["es"] * 30)
    assert spans(blocks, BOTH, 1e300) == [(0.0, 5.0, "es")]
    found = identify_blocks(blocks, BOTH, 1e300).probabilities
    assert found == pytest.approx(np.tile(found[0], (50, 1)))


def test_a_segments_answer_is_that_of_its_frames_alone() -> None:
    blocks = blocks_of(["en"] * 20 + ["es"] * 30)
    first, second = segments_of(blocks, BOTH, 1.0, Answer("x", seconds=4.97))
    assert (first.speech, first.seconds, second.end, second.seconds) == (2.0, 2.0, 4.97, 2.97)
    own = Scores(blocks.scores.mean_loglik[20:].mean(0)[None], np.array([300]), np.zeros((1, 2)))
    assert second.probability == pytest.approx(BOTH.probabilities(own)[0, 1])
    assert (second.runner_up, second.name) == ("en", "x")


def test_the_sum_of_the_evidence_of_a_windows_blocks_is_its_calibrated_loglikelihood(model: Identifier) -> None:
    decider, generator = model.decider(), np.random.default_rng(0)
    frames = generator.integers(1, 11, 30)
    scores = Scores(generator.normal(-50, 1, (30, 2)), frames, generator.normal(size=(30, 24)))
    total = decider.evidence(scores, np.full(30, frames.sum())).sum(0)
    mean = frames @ scores.mean_loglik / frames.sum()
    assert total == pytest.approx(model.calibration.affine(mean[None], [frames.sum()])[0])


def test_windows_pool_the_blocks_around_them() -> None:
    blocks = blocks_of(["en"] * 10 + [None] * 15 + ["es"] * 5, 0.01)
    found = identify_blocks(blocks, BOTH, 1.0)
    assert found.languages == ["en"] * 15 + [NO_SPEECH] * 5 + ["es"] * 10
    assert found.speech[[0, 5, 14, 15, 29]] == pytest.approx([0.6, 1.0, 0.1, 0.0, 0.5])
    assert np.isnan(found.probabilities[15:20]).all()
    # blocks 0 to 5 with 60 frames, whose ratio of 0.01 nats adds up to 0.6
    assert found.probabilities[0] == pytest.approx([1 / (1 + np.exp(-0.6)), 1 / (1 + np.exp(0.6))])


def test_what_the_open_set_rejects_is_one_unknown_segment_and_candidates_and_priors_count() -> None:
    class NoItalian:
        def typicality(self, mean: np.ndarray, frames: np.ndarray, latents: np.ndarray, other: None) -> np.ndarray:
            return 1 - latents[:, 1]  # share of frames that are of neither

    decider = Decider(["en", "es"], None, NoItalian(), rate=0.05)
    path = ["en"] * 20 + [None] * 6 + ["it"] * 9 + [None] * 6 + ["es"] * 10
    assert spans(blocks_of(path), decider) == [(0.0, 2.0, "en"), (2.6, 3.5, UNKNOWN), (4.1, 5.1, "es")]
    found = identify_blocks(blocks_of(path), decider, 0.3)
    assert [found.languages[n] for n in (5, 30, 45)] == ["en", UNKNOWN, "es"]
    certain = Decider(["en", "es"], None, priors={"en": 1e-9, "es": 1.0})
    assert {language for *_, language in spans(blocks_of(["en"] * 3, 0.1), certain)} == {"es"}


def test_spliced_speech_is_found_again(model: Identifier, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, starts = splice(pause=0.8)
    timeline = scored_by(monkeypatch, model, samples, starts)
    assert [each.language for each in timeline.segments if each.speech > 0.3] == list(ORDER)
    for each, start in zip(timeline.segments, starts, strict=True):
        assert start - 0.1 <= each.start <= start + 0.2
    assert timeline.seconds == pytest.approx(len(samples) / 8000)
    assert len(timeline.windows.languages) == len(timeline.windows.speech) == -(-len(timeline.feats) // 10)
    windows_at = [timeline.windows.languages[round((start + 1) / timeline.step)] for start in starts]
    assert windows_at == list(ORDER)


def scored_by(monkeypatch: pytest.MonkeyPatch, model: Identifier, samples: np.ndarray, starts: list[float]) -> Timeline:
    """The timeline of a splice under a flow that knows where each part begins."""
    real = model.score_blocks

    def score(heard: object, length: int) -> tuple[Scores, np.ndarray]:
        scores, numbers = real(heard, length)
        part = np.searchsorted(starts, (numbers + 0.5) * 0.1, side="right") - 1
        lead = np.where([ORDER[n] == "en" for n in part], 1.0, -1.0)
        return dataclasses.replace(scores, mean_loglik=np.column_stack([lead - 50, np.full(len(lead), -50.0)])), numbers

    monkeypatch.setattr(model, "score_blocks", score)
    monkeypatch.setattr(model, "calibration", None)
    return model.identify_windows(samples, 8000, window=1.0)


def test_a_recording_of_one_window_is_identified_as_a_whole(model: Identifier) -> None:
    samples, _ = splice(order=("es",))
    timeline, answer = model.identify_windows(samples, 8000, window=20), model.identify(samples, 8000)
    (row,) = {tuple(np.round(row, 9)) for row in timeline.windows.probabilities}
    assert dict(zip(timeline.candidates, row, strict=True)) == pytest.approx(answer.probabilities, abs=1e-6)
    assert sum(each.speech for each in timeline.segments) == pytest.approx(answer.speech)


def test_a_window_longer_than_the_recording_is_all_of_it(model: Identifier) -> None:
    samples, _ = splice(order=("es", "en"))
    found = [model.identify_windows(samples, 8000, window=window) for window in (30, 1e12, 1e200)]
    for other in found[1:]:
        assert np.array_equal(other.windows.probabilities, found[0].windows.probabilities)
        assert len({each.language for each in other.segments}) == 1  # no change is expected in so long a time


def test_a_long_recording_gives_the_same_in_pieces(model: Identifier, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = splice()
    whole = model.identify_windows(samples, 8000)
    monkeypatch.setattr(windows, "_AT_ONCE", 7)
    pieces = model.identify_windows(samples, 8000)
    assert pieces.segments == whole.segments and pieces.windows.languages == whole.windows.languages
    assert np.array_equal(pieces.windows.probabilities, whole.windows.probabilities, equal_nan=True)


def test_what_cannot_be_told_is_said(model: Identifier, tmp_path: Path) -> None:
    write_wav(tmp_path / "silence.wav", np.zeros(8000))
    write_wav(tmp_path / "short.wav", np.zeros(100))
    paths = [str(tmp_path / name) for name in ("silence.wav", "none.wav", "short.wav")]
    silence, none, short = model.timelines(Inputs(paths), model.decider(), 3.0)
    assert (silence.segments, set(silence.windows.languages), silence.error) == ((), {NO_SPEECH}, None)
    assert "correct the path" in none.error and none.windows is None
    assert (short.segments, short.windows.languages, short.seconds) == ((), [], 0.0125)
    for window in (0.05, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"give 0\.1 or more, such as 3"):
            model.identify_windows(np.zeros(8000), 8000, window=window)
        with pytest.raises(ValueError, match=r"give 0\.1 or more, such as 3"):  # before the first is asked for
            model.timelines(Inputs(paths), model.decider(), window)
    with pytest.raises(ValueError, match="correct the path"):
        model.identify_windows(tmp_path / "none.wav")
