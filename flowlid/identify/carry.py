"""A trained model in one directory that can be copied anywhere: weights, configuration, calibration, card."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowlid import __version__
from flowlid.evaluation.calibrated import read_calibration
from flowlid.evaluation.calibration import Calibration
from flowlid.evaluation.openset import OpenSet, read_openset
from flowlid.evaluation.reuse import digest
from flowlid.files import read_json, write_json
from flowlid.flow.checkpoint import Model, load_model, save_model
from flowlid.flow.transforms import AffineCoupling

FORMAT = 1  # of the directory
WEIGHTS, CALIBRATION, OPENSET, BACKGROUND = "model.pt", "calibration.json", "openset.json", "background.pt"
CARD, CONTENT = "card.md", "model.json"
_SAMPLES = 1024  # frames on which rounded weights are tried
_AGAIN = "copy the directory again, or make it again (stage 4)"


@dataclass(frozen=True)
class Carried:
    """A model with what turns its scores into answers; None for what it does not have.

    Attributes:
        place: the directory that it is from.
        digest: of the experiment's model, which its calibration names.
        model: on the CPU.
        calibration: makes probabilities of log-likelihoods.
        openset: tells what is unknown.
        background: the flow whose log-likelihoods the open set needs.
    """

    place: Path
    digest: str
    model: Model
    calibration: Calibration | None
    openset: OpenSet | None
    background: Model | None


def open_model(place: str | Path) -> Carried:
    """Open a model directory, or the directory of an experiment.

    Raises:
        FileNotFoundError: there is no model.
        ValueError: a damaged file, or one of another flowlid; the message names it and the fix.
    """
    place = Path(place)
    if (place / CONTENT).is_file():
        own = _checked_content(place)["model"]
        weights, calibration, openset = place / WEIGHTS, place / CALIBRATION, place / OPENSET
    elif (place / "final.pt").is_file():
        weights, calibration, openset = place / "final.pt", *_of_experiment(place)
        own = digest(weights)
    else:
        raise FileNotFoundError(
            f"{place}: no model: give an experiment (exp/<name>, trained by stage 3) or its model directory "
            "(exp/<name>/model)"
        )
    model = load_model(weights)
    unknown = read_openset(openset, own) if openset.is_file() else None
    background = None
    if unknown is not None and unknown.background:
        path = place / BACKGROUND if weights.name == WEIGHTS else place.parent / unknown.background / "final.pt"
        background = load_model(path)
        if background.config.features != model.config.features:
            raise ValueError(f"{path}: the background's features have other options than those of {weights}")
    known = read_calibration(calibration, own) if calibration.is_file() else None
    return Carried(place, own, model, known, unknown, background)


def _of_experiment(exp: Path) -> tuple[Path, Path]:
    """Where an experiment's calibration and open set are."""
    return exp / "calibration" / CALIBRATION, exp / "openset" / OPENSET


def _checked_content(place: Path) -> dict[str, Any]:
    """What model.json says, if the other files are as they were written with it."""
    content = read_json(place / CONTENT)
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict) or "model" not in content:
        raise ValueError(f"{place / CONTENT}: not that of a model directory; {_AGAIN}")
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{place}: a model directory of format {content.get('format')!r} (flowlid {content.get('flowlid')}), this "
            f"flowlid ({__version__}) reads {FORMAT}; use that flowlid, or make the directory again (stage 4)"
        )
    wrong = [name for name, written in content["files"].items() if digest(place / name) != written]
    if wrong:
        raise ValueError(f"{place / wrong[0]}: missing, or not as it was written; {_AGAIN}")
    return content


def write_model(exp: Path, out: Path, card: str) -> str:
    """Write the model of an experiment, with what turns its scores into answers, into the directory `out`.

    Its products run everywhere in the precision that its scores were computed in, which its calibration is of. Where
    that is bfloat16, the couplings' weights are stored so if this changes no score.

    Returns:
        What the weights are stored in.
    """
    found = open_model(exp)
    weights = _write_weights(out / WEIGHTS, exp, found.model)
    if found.background is not None:
        _write_weights(out / BACKGROUND, exp.parent / found.openset.background, found.background)
    for path in _of_experiment(exp):
        if path.is_file():
            shutil.copyfile(path, out / path.name)
    (out / CARD).write_text(card, encoding="utf-8")
    write_content(out, exp.name, found.digest)
    return weights


def _write_weights(path: Path, exp: Path, model: Model) -> str:
    model = pinned(model, _precision_of(exp, model))
    compact = compact_weights(model)
    save_model(path, model, compact)
    return "bfloat16" if compact else "float32"


def write_content(out: Path, experiment: str, model: str) -> None:
    """Write model.json, which tells what else is in the directory `out`; `model` is what the calibration names."""
    files = {name: digest(out / name) for name in (WEIGHTS, BACKGROUND, CALIBRATION, OPENSET) if (out / name).is_file()}
    about = {"format": FORMAT, "flowlid": __version__, "experiment": experiment, "model": model}
    write_json(out / CONTENT, {**about, "files": files})


def pinned(model: Model, precision: str) -> Model:
    """A model whose products run in this precision on every device; those of a baseline are always float32."""
    if model.config.model.is_baseline:
        return model.to(torch.device("cpu"))
    config = dataclasses.replace(model.config, model=dataclasses.replace(model.config.model, precision=precision))
    return dataclasses.replace(model, config=config).to(torch.device("cpu"))


def _precision_of(exp: Path, model: Model) -> str:
    """The precision that the dev set was scored in; without one, the one that the model would have here."""
    result = exp / f"score_{model.config.data.dev}" / "result.json"
    if model.config.data.dev and result.is_file():
        return read_json(result)["precision"]
    return model.to(torch.device("cpu")).flow.precision


@torch.no_grad()
def compact_weights(model: Model) -> set[str]:
    """Names of the weights that can be stored in bfloat16: all of the couplings', if no score changes; else none.

    They are tried on frames that the model itself draws.
    """
    flow = model.flow
    if flow.precision != "bfloat16":
        return set()
    places = [name for name, module in flow.named_modules() if isinstance(module, AffineCoupling)]
    state = flow.state_dict()
    names = {name for name in state if any(name.startswith(f"{place}.") for place in places)}
    names = {name for name in names if state[name].is_floating_point()}
    generator = torch.Generator().manual_seed(0)
    frames = flow.sample([n % len(model.classes) for n in range(_SAMPLES)], generator)
    before = flow.log_prob(frames)
    exact = {name: state[name].clone() for name in names}
    flow.load_state_dict({name: value.bfloat16() if name in names else value for name, value in state.items()})
    same = torch.equal(before, flow.log_prob(frames))
    if not same:
        flow.load_state_dict({**state, **exact})
    return names if same else set()
