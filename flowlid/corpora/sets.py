"""The sets file of a recipe: which utterances of the manifests make which set, under which labels, without leaks."""

import logging
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lhotse import SupervisionSegment

from flowlid.files import read_yaml
from flowlid.wording import nearest, some

log = logging.getLogger("flowlid")

COPY_OF = "copy_of"  # the field of a copy that names its original
FIELDS = ("language", "speaker", "gender", "recording_id")  # others are in a supervision's `custom`
_KEYS = ("disjoint", "label", "classes", "optional", "sets")
_BOUNDS = ("min", "max", "above", "below")


@dataclass(frozen=True)
class Values:
    """A condition on a field: it is one of these texts."""

    texts: tuple[str, ...]

    def holds(self, value: str | None) -> bool:
        return value in self.texts

    def __str__(self) -> str:
        return " or ".join(self.texts)


@dataclass(frozen=True)
class Range:
    """A condition on a field: a number within these bounds; min and max are included, above and below are not."""

    min: float = -math.inf
    max: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, value: str | None) -> bool:
        try:
            number = math.nan if value is None else float(value)
        except ValueError:
            return False
        return self.min <= number <= self.max and self.above < number < self.below

    def __str__(self) -> str:
        given = {bound: number for bound, number in vars(self).items() if math.isfinite(number)}
        return " ".join(f"{bound} {number:g}" for bound, number in given.items())


Selection = Mapping[str, Values | Range]


@dataclass(frozen=True)
class Sets:
    """A sets file.

    Attributes:
        path: of the file, for messages.
        sets: name -> field -> condition, an utterance belongs to the set if all hold; or name -> other sets, named
            before it, that it joins.
        disjoint: field of which no value may be in both a train set and a dev or test set; None: not checked.
        label: field that becomes the utterance's language (utt2lang).
        classes: value of that field -> the class that it counts as; other values are classes by themselves.
        optional: sets that are left out where a corpus was not given.
    """

    path: Path
    sets: Mapping[str, Selection | list[str]]
    disjoint: str | None = None
    label: str = "language"
    classes: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()


def read_sets(path: Path) -> Sets:
    """Read a sets file.

    Raises:
        ValueError: no YAML, an unknown key, a set without a selection, or a name of no known kind.
    """
    config = read_yaml(path)
    if not isinstance(config, dict) or not isinstance(config.get("sets"), dict) or not config["sets"]:
        raise ValueError(f"{path}: expected the keys `disjoint` (a field) and `sets` (name -> selection)")
    for key in config:
        if key not in _KEYS:
            raise ValueError(f"{path}: unknown key {key!r}{nearest(str(key), _KEYS)}")
    for key in ("disjoint", "label"):
        if config.get(key) is not None and not isinstance(config[key], str):
            raise ValueError(f"{path}: {key}: {config[key]!r} is not the name of a field")
    sets: dict[str, Selection | list[str]] = {}
    for name, value in config["sets"].items():
        sets[str(name)] = _selection(path, name, value, sets)
    optional = [str(name) for name in config.get("optional") or []]
    for name in optional:
        if name not in sets:
            raise ValueError(f"{path}: optional: no set is called {name!r}{nearest(name, sets)}")
    label, disjoint = config.get("label") or "language", config.get("disjoint")
    return Sets(path, sets, disjoint, label, _classes(path, config.get("classes")), frozenset(optional))


def _classes(path: Path, classes: object) -> dict[str, str]:
    if classes is not None and not isinstance(classes, dict):
        raise ValueError(f"{path}: classes: expected class -> value or list of values, not {classes!r}")
    class_of: dict[str, str] = {}
    for name, values in (classes or {}).items():
        for value in _texts(values, f"{path}: classes: {name}"):
            if class_of.setdefault(value, str(name)) != str(name):
                raise ValueError(f"{path}: classes: {value!r} is under {class_of[value]} and {name}; keep one")
    return class_of


def is_set_name(name: str) -> bool:
    """Whether a name is that of a train, dev or test set, and of a directory."""
    return re.fullmatch(r"(train|dev|test)[\w.-]*", name) is not None


def _selection(path: Path, name: object, value: object, before: Collection[str]) -> Selection | list[str]:
    if not is_set_name(str(name)):
        raise ValueError(f"{path}: set {name!r}: a set's name starts with train, dev or test, and is a file name")
    if isinstance(value, list) and value:
        for other in value:
            if other not in before:
                raise ValueError(f"{path}: set {name}: no set {other!r} comes before it{nearest(str(other), before)}")
        return value
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{path}: set {name}: expected field -> value or list of values, or sets, not {value!r}")
    return {str(key): _condition(item, f"{path}: set {name}: {key}") for key, item in value.items()}


def _condition(value: object, where: str) -> Values | Range:
    if not isinstance(value, dict):
        return Values(tuple(_texts(value, where)))
    for bound, number in value.items():
        if bound not in _BOUNDS:
            raise ValueError(f"{where}: unknown bound {bound!r}{nearest(str(bound), _BOUNDS)}")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"{where}: {bound}: {number!r} is not a number")
    return Range(**value)


def _texts(value: object, where: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    # `true` and `false` without quotes are no names (`read_yaml` refuses `no` and `on`)
    if not values or any(isinstance(item, bool) or not isinstance(item, str | int | float) for item in values):
        raise ValueError(f"{where}: {value!r} is not a value or list of values; put it in quotes")
    return [str(item) for item in values]


def field_of(supervision: SupervisionSegment, name: str) -> str | None:
    """Value of a field of a supervision, as text; None where it has none."""
    value = getattr(supervision, name) if name in FIELDS else (supervision.custom or {}).get(name)
    return None if value is None else str(value)


def select(sets: Sets, supervisions: Mapping[str, SupervisionSegment]) -> dict[str, list[SupervisionSegment]]:
    """Supervisions of each set, by id, with the set file's label as their language.

    Raises:
        ValueError: an unknown field, a value that nothing has, an empty set (unless it is optional), an utterance
            without label, or a leak.
    """
    known = {name for item in supervisions.values() for name in item.custom or {}} | set(FIELDS)
    values = {name: {field_of(item, name) for item in supervisions.values()} - {None} for name in known}
    chosen: dict[str, list[SupervisionSegment]] = {}
    for name, selection in sets.sets.items():
        if isinstance(selection, list):
            missing = [other for other in selection if other not in chosen]
            problem = f"its part {missing[0]} is not there" if missing else None
            joined = {item.id: item for other in selection for item in chosen.get(other, ())}
            chosen[name] = [item for _, item in sorted(joined.items())]
        else:
            problem = _problem(selection, known, values)
            chosen[name] = [item for _, item in sorted(supervisions.items()) if _belongs(item, selection)]
            if problem is None and not chosen[name]:
                asked = ", ".join(f"{name} {condition}" for name, condition in selection.items())
                problem = f"empty, no utterance has all of {asked}"
        if problem is not None:
            if name not in sets.optional:
                raise ValueError(f"{sets.path}: set {name}: {problem}")
            log.warning("%s: set %s left out (it is optional): %s", sets.path, name, problem)
            del chosen[name]
    if sets.disjoint is None:
        log.warning("%s has no `disjoint: FIELD`: what train and test sets share is not checked", sets.path)
    for key, name in (("disjoint", sets.disjoint), ("label", sets.label)):
        if name is not None and name not in known:
            raise ValueError(f"{sets.path}: {key}: unknown field {name!r}{nearest(name, known)}")
    check_copies(sets, chosen)
    check_leaks(sets, chosen)
    return {name: [_labelled(sets, item) for item in items] for name, items in chosen.items()}


def _problem(selection: Selection, known: set[str], values: Mapping[str, set[str | None]]) -> str | None:
    """Why a selection cannot be made of utterances with these fields and values; None if it can."""
    for name, condition in selection.items():
        if name not in known:
            return f"unknown field {name!r}{nearest(name, known)}"
        for text in condition.texts if isinstance(condition, Values) else ():
            if text not in values[name]:
                return f"no utterance has {name} {text!r}{nearest(text, values[name])}"
    return None


def _belongs(item: SupervisionSegment, selection: Selection) -> bool:
    return all(condition.holds(field_of(item, name)) for name, condition in selection.items())


def _labelled(sets: Sets, item: SupervisionSegment) -> SupervisionSegment:
    label = field_of(item, sets.label)
    if not label:
        raise ValueError(f"{sets.path}: utterance {item.id} has no {sets.label}; set it where the corpus is prepared")
    return replace(item, language=sets.classes.get(label, label))


def check_leaks(sets: Sets, chosen: Mapping[str, list[SupervisionSegment]]) -> None:
    """Check that no train set shares a value of `disjoint` with a dev or test set, and log what that guarantees.

    Other fields are not checked: where `disjoint` is not the speaker, the sets that share speakers are logged.

    Raises:
        ValueError: a shared value, with the two sets, or an utterance without the field.
    """
    others = [name for name in chosen if not name.startswith("train")]
    for train in (name for name in chosen if name.startswith("train")):
        speakers = {item.speaker for item in chosen[train]}
        same = [name for name in others if speakers & {item.speaker for item in chosen[name]}]
        if same:
            checked = f"only {sets.disjoint} is kept apart" if sets.disjoint else "nothing is kept apart"
            log.info("%s shares speakers with %s: %s", train, " ".join(same), checked)
        for other in others if sets.disjoint else []:
            shared = _values(sets, train, chosen[train]) & _values(sets, other, chosen[other])
            if shared:
                raise ValueError(
                    f"{sets.path}: leak: {train} and {other} share {len(shared)} values of {sets.disjoint}: "
                    f"{some(sorted(shared))}; select other parts, or say what else must be disjoint"
                )
    if sets.disjoint:
        log.info("checked: no %s is in both a train set and a dev or test set", sets.disjoint)


def check_copies(sets: Sets, chosen: Mapping[str, list[SupervisionSegment]]) -> None:
    """Check that copies (`flowlid.corpora.augmented`) are of utterances of training, and in train sets alone.

    Raises:
        ValueError: a copy in a dev or test set, or one in a train set whose original is in such a set.
    """
    others = [name for name in chosen if not name.startswith("train")]
    for other in others:
        copies = [item.id for item in chosen[other] if field_of(item, COPY_OF)]
        if copies:
            raise ValueError(f"{sets.path}: set {other} has copies, which only train sets may: {some(copies)}")
    for train in (name for name in chosen if name.startswith("train")):
        sources = {field_of(item, COPY_OF) for item in chosen[train]}
        for other in others:
            shared = sorted(item.id for item in chosen[other] if item.id in sources)
            if shared:
                raise ValueError(
                    f"{sets.path}: leak: {train} has copies of utterances of {other}: {some(shared)}; make them anew "
                    "(steps/augment_corpus.py), since the parts of the corpus have changed"
                )


def _values(sets: Sets, name: str, items: list[SupervisionSegment]) -> set[str]:
    values = {item.id: field_of(item, sets.disjoint) for item in items}
    for utt, value in values.items():
        if value is None:
            raise ValueError(f"{sets.path}: set {name}: utterance {utt} has no {sets.disjoint}, which must be disjoint")
    return set(values.values())
