"""What every form of the report says: its first line, the notes, and the tables and commands of an experiment."""

from collections.abc import Mapping, Sequence

from flowlid.report import baseline_tables, decision_tables, openset_tables, tables
from flowlid.report.tables import NONE, Result, Table

NOTES = (
    "LogLL = LogP + LogDet in nats per frame (natural logarithm), averaged over the frames of a set. A DNF's LogLL is "
    "under the true class, or under the best class where the language was not in training (unseen). The research "
    "notebook of March 2020, whose experiments some recipes repeat, prints the loss, -LogLL, under the name LogLL. "
    "A logistic regression gives log p(y|x), which is no density of frames: it has no LogLL.",
    "Decisions: a frame goes to the class of highest log p(x|y), an utterance to the class of the highest sum over "
    "its frames. Detection scores are log-likelihood ratios of whole utterances, not calibrated; a set of one "
    "language has none. EER and minDCF (C_miss = C_fa = 1, P_target = 0.5, not normalized) are over all trials of "
    "utterances, C_avg (NIST LRE 2009, closed set) is at the Bayes threshold. Accuracies do not count unseen "
    "languages; macro accuracy is the mean of the languages' own, so that each counts alike.",
    "Calibrated decisions: an affine map of each utterance's log-likelihoods, fitted on the dev set and on pieces of "
    "its utterances, makes their probabilities true. Where an utterance's mean latent lies farther from those of the "
    "dev set than these lie from one another, as that of a new voice or channel does, its probabilities are flat: "
    "nothing is known of it. Bits are the multi-class cross-entropy at flat priors, averaged over the languages of a "
    "set: 0 for certainty of the truth, log2 K for knowing nothing, more for confident errors. The least is what the "
    "same map would reach if fitted on the set itself. Cllr is the mean over pairs of languages, its minimum by PAV; "
    "the costs are those of the NIST evaluations of 2017 and 2022 (1 is that of knowing nothing; at beta 1 twice "
    "C_avg), their least that of one other threshold. Intervals are 95% bootstrap intervals; where that of what is "
    "over the least includes 0, the set is too small to tell. The dev set's own figures are of the data that the map "
    "was fitted on.",
    "Baselines: a mixture of diagonal Gaussians per class (gmm), linear discriminant analysis (lda) and logistic "
    "regression (lr), of single frames, as a flow. A flow beats a baseline that was trained and scored on the same "
    "sets if it decides more of the utterances correctly and McNemar's exact test, on the utterances that one of the "
    'two alone has right, gives p < 0.05; "worse" means that a baseline beats the flow. The test takes utterances as '
    "independent, so p is too small where a speaker has many, and says nothing of models of other seeds.",
    'Open set: an utterance is rejected as "unknown" if it is stranger than all but 5% of the dev set\'s utterances. '
    "How strange it is combines (Fisher's method) the distance of its mean latent from its class (shift), the lead of "
    "its best class over the second (margin), and its log-likelihood or its ratio to a background flow, each compared "
    "with dev utterances of the same decision and of like duration. Nothing unknown was used to fit it. AUROC is the "
    "probability that an utterance of an unseen language is stranger than one of the set named in the last column. New "
    "voices and channels are strange too, so that a known language may be rejected for them: the column of new voices "
    "tells how many of the seen utterances are of speakers that are not in training.",
    "Durations: windows are cut one after another from the selected (voiced) frames of an utterance, and each is "
    "decided by the sum over its own frames; the rest at the utterance's end is not used. Longer windows come from "
    "fewer and longer utterances, so the columns are not about the same speech. Intervals are 95% bootstrap intervals "
    "(2000 resamples) over speakers, or over utterances where a set has fewer than 5 speakers; the table says which. "
    "If all units agree, for example all are right, the interval is a single point and says nothing about other "
    "speakers.",
    "Non-speech check: non-speech frames are those without a voiced frame in their context. The linear classifier "
    "(discriminant analysis) sees the mean of an utterance's non-speech frames, and was trained on those of the "
    "training set. Classes with fewer than ten such utterances are left out. Chance is one over the number of classes "
    "that are left; two are needed. They are told apart if the lower end of an interval is more than 0.1 above chance, "
    "not apart if both upper ends are at most that, and otherwise it cannot be told. With cmvn per utterance or "
    "speaker, the mean that was subtracted includes speech, so these frames still show how far speech is above the "
    'noise. In the table of all experiments, "non-speech" is the higher balanced accuracy of the two: (!) means told '
    'apart, (?) that it cannot be told, no sign that they are not apart; "not applicable" is said of models that '
    "decide nothing and of sets without a language that was in training.",
    "Proficiency: correlations with scores given by human raters. LogLL is log p(x) of a normal flow and log "
    "p(x|native) of a model with a native class; otherwise it is under the utterance's own class, or the best class "
    "if its language is unseen. The log-likelihood ratio compares the native class with the best other class. The "
    "ridge regression predicts each utterance without having seen its speaker (it is not fitted again in each "
    'resample). Intervals are 95% bootstrap intervals (2000 resamples) over the units in the column "resampled"; '
    "those that take utterances as independent use Fisher's transform, and are too narrow where a speaker has many "
    "utterances.",
    f'"{NONE}" means that a value does not apply.',
)


def first_line(results: Sequence[Result]) -> str:
    """The sentence that says what the report is; the command that wrote it follows."""
    return f"Report of {len(results)} experiment{'' if len(results) == 1 else 's'}, written by"


def made_by(result: Result) -> dict[str, str]:
    """Which commands made an experiment's model and its scores, and where: words -> text."""
    scored = dict.fromkeys(found["command"] for _, found in tables.scored_sets(result) if found["command"])
    made = {
        "Trained by": result["command"],
        "Scored by": "; ".join(scored),
        "Commit": result["commit"],
        "Versions": result["versions"],
        "Machine": result["machine"],
    }
    return {words: text for words, text in made.items() if text}


def experiment_tables(result: Result, references: Mapping[str, Table]) -> list[Table]:
    """The tables of one experiment that have rows; the one that `references` holds for it is the last."""
    makers = (
        tables.training_table,
        tables.sets_table,
        baseline_tables.baselines_table,
        decision_tables.calibration_table,
        decision_tables.stated_table,
        openset_tables.openset_table,
        decision_tables.nonspeech_table,
        decision_tables.durations_table,
        decision_tables.margins_table,
        decision_tables.proficiency_table,
        tables.confusion_table,
        tables.moments_table,
    )
    found = [make(result) for make in makers]
    found += [table for name, table in references.items() if name == result["experiment"]]
    return [table for table in found if table.rows]
