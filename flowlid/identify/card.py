"""What is said of a model beside its weights: what it was trained on, its figures, warnings, and whose speech it is."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flowlid import __version__
from flowlid.files import read_json, read_text
from flowlid.flow.checkpoint import Model
from flowlid.kaldi.datadir import DataDir

Result = Mapping[str, Any]
_LICENCE = re.compile(r"^#+ +licen[cs]es?\b", re.IGNORECASE)
_KINDS = {
    "dnf": "discriminative normalization flow",
    "nf": "normal flow",
    "gmm": "baseline of Gaussian mixtures",
    "lda": "baseline of linear discriminant analysis",
    "lr": "baseline of logistic regression",
}


def write_card(exp: Path, model: Model, data: Path, readme: Path | None) -> str:
    """The text of card.md.

    Args:
        exp: directory of the experiment, scored and calibrated as far as it can be.
        model: the experiment's.
        data: where the data directories are.
        readme: of the recipe, whose section "Licences" tells whose the speech is.
    """
    kind = model.config.model.type
    lines = [
        f"# {exp.name}",
        "",
        f"A {_KINDS[kind]} of flowlid {__version__} for {', '.join(model.languages)}.",
        "",
        "    steps/identify.py MODEL_DIRECTORY FILE...",
        "",
        "## Trained on",
        "",
        *_training(exp, model, data),
        "",
        "## Figures",
        "",
        *_figures(exp, model),
        "",
        "## Warnings",
        "",
        *(_warnings(exp, model) or ["None was given; that is no proof that it works on other recordings."]),
        "",
        "## Licence of the speech",
        "",
        *_licence(readme),
    ]
    return "\n".join(lines) + "\n"


def _training(exp: Path, model: Model, data: Path) -> Iterator[str]:
    name, rate = model.config.data.train, model.config.features.get("fbank.sample-frequency")
    found = DataDir(data / name) if (data / name).is_dir() else None
    yield f"- set {name}" + (f", sound at {float(rate):g} Hz" if rate else "")
    if found is None:
        yield f"- hours and speakers are not known: {data / name} was not there"
    elif found.has("utt2num_frames"):
        frames, languages = found.table("utt2num_frames"), found.table("utt2lang")
        hours: Counter[str] = Counter()
        for utt, count in frames.items():
            hours[languages[utt]] += int(count) * found.frame_shift / 3600
        speakers = {language: set() for language in hours}
        for utt, speaker in found.table("utt2spk").items():
            speakers[languages[utt]].add(speaker)
        for language in sorted(hours):
            count = len(speakers[language])
            yield f"- {language}: {hours[language]:.2f} hours, {count} speaker{'s' * (count != 1)}"
    if (exp / "train.json").is_file():
        made = read_json(exp / "train.json")
        yield f"- {made['frames']} frames, commit {made['provenance']['commit']}"


def _figures(exp: Path, model: Model) -> Iterator[str]:
    yield "| set | languages | utterances | LogLL | frame acc | utt acc | calibrated acc | bits |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name in (model.config.data.dev, *model.config.data.tests):
        scored, calibrated = _result(exp / f"score_{name}"), _result(exp / f"calibrated_{name}")
        if scored is None:
            continue
        bits = (calibrated or {}).get("bits")
        figures = [
            scored["loglik"],
            scored["frame_accuracy"],
            scored["utt_accuracy"],
            (calibrated or {}).get("accuracy"),
        ]
        cells = [name, " ".join(scored["languages"]), scored["utterances"], *map(_figure, figures)]
        cells.append(_figure(bits["share"] if bits else None))
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    yield (
        "LogLL is log p(x | y) in nats per frame. Bits are the cross-entropy of the calibrated probabilities; log2 of "
        "the number of classes is what knowing nothing costs. - is what does not apply."
    )


def _warnings(exp: Path, model: Model) -> list[str]:
    found = []
    for name in (model.config.data.dev, *model.config.data.tests):
        result = _result(exp / f"nonspeech_{name}")
        if result and result["warning"]:
            found.append(f"- {result['warning']}")
    calibration = exp / "calibration" / "calibration.json"
    if not model.config.model.decides:
        found.append("- A normal flow gives log-likelihoods; it decides nothing.")
    elif not calibration.is_file():
        found.append("- It is not calibrated: its probabilities are far too sure.")
    elif not read_json(calibration).get("new_speakers"):
        found.append(
            "- The calibration is of voices that training has too: how far it holds for new voices is not known."
        )
    return found


def _licence(readme: Path | None) -> list[str]:
    """The section of a README whose title begins with "Licence", without the title."""
    lines = read_text(readme).split("\n") if readme is not None and readme.is_file() else []
    start = next((number for number, line in enumerate(lines) if _LICENCE.match(line)), None)
    if start is None:
        return ["The recipe states none: ask whoever has the speech."]
    end = next((number for number in range(start + 1, len(lines)) if lines[number].startswith("#")), len(lines))
    return "\n".join(lines[start + 1 : end]).strip("\n").split("\n")


def _result(place: Path) -> Result | None:
    path = place / "result.json"
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: not a JSON object; remove {place} and run stage 4 again")
    return found


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def added_section(language: str, seconds: float, recordings: int) -> str:
    """What a card says of a class that was added after training."""
    return (
        f"\n## Added class\n\n{language}: the mean latent of {seconds / 60:.1f} minutes of speech in {recordings} "
        "recordings; the flow was not trained on it. The figures above are of the model without it.\n"
    )
