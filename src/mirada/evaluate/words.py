"""The words of a report, and numbers written as the reader's language writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mirada.messages import Message, current_language, msg

THIN_SPACE = "\u202f"


def percent(value: float, digits: int = 1) -> str:
    """0.973 as "97.3 %" or "97,3 %"; never "100.0 %" for what is not quite all."""
    shown = 100 * value
    if value < 1:
        shown = min(shown, 100 - 10**-digits)
    return f"{_decimal(shown, digits)}{THIN_SPACE}%"


def decimal(value: float, digits: int = 3) -> str:
    """A number with the decimal sign of the language in force."""
    return _decimal(value, digits)


def count(value: float) -> str:
    """A whole number with its thousands set apart."""
    return f"{int(value):,}".replace(",", THIN_SPACE)


def _decimal(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.replace(".", ",") if current_language() == "es" else text


@dataclass(frozen=True, slots=True)
class MetricWords:
    """How a figure is called and explained, and how it is written."""

    title: Message
    meaning: Message
    kind: Literal["share", "number"] = "share"
    better: Literal["higher", "lower"] = "higher"
    first: bool = True  # False: folded away, for those who look for it


# In the order of the table. A figure that is not named here is shown under its own name, after these.
METRICS: Mapping[str, MetricWords] = {
    "accuracy": MetricWords(msg("Accuracy"), msg("How many of all photographs get the right class.")),
    "balanced_accuracy": MetricWords(
        msg("Balanced accuracy"), msg("The mean over classes: a rare class weighs as much as a common one.")
    ),
    "macro_f1": MetricWords(
        msg("F1, mean of classes"), msg("Precision and recall in one figure, every class weighing the same.")
    ),
    "macro_precision": MetricWords(
        msg("Precision, mean of classes"), msg("How many of those given a class are of that class."), first=False
    ),
    "macro_recall": MetricWords(msg("Recall, mean of classes"), msg("How many of a class are found."), first=False),
    "weighted_f1": MetricWords(
        msg("F1, weighted"), msg("F1 by class, each weighing as many as its photographs."), first=False
    ),
    "weighted_precision": MetricWords(
        msg("Precision, weighted"), msg("Precision by class, each weighing as many as its photographs."), first=False
    ),
    "weighted_recall": MetricWords(
        msg("Recall, weighted"),
        msg("Recall by class, each weighing as many as its photographs: the accuracy."),
        first=False,
    ),
    "top_3_accuracy": MetricWords(msg("Right class among the first 3"), msg("The right class is one of the best 3.")),
    "top_5_accuracy": MetricWords(msg("Right class among the first 5"), msg("The right class is one of the best 5.")),
    "roc_auc_macro": MetricWords(
        msg("ROC AUC, mean of classes"),
        msg("How often a photograph of a class scores higher for it than one of another class. 0.5 is chance."),
        "number",
    ),
    "roc_auc_micro": MetricWords(
        msg("ROC AUC, pooled"), msg("The same over all yes-or-no decisions at once, as Keras counts."), "number"
    ),
    "log_loss": MetricWords(
        msg("Log loss"), msg("Punishes confident mistakes; 0 is perfect."), "number", better="lower"
    ),
    "calibration_error": MetricWords(
        msg("Calibration error"), msg("How far scores are from how often they are right."), better="lower"
    ),
}

STAGES: Mapping[str, Message] = {
    "prepare": msg("preparing"),
    "add": msg("adding"),
    "split": msg("splitting"),
    "embed": msg("embedding"),
    "train": msg("training"),
    "evaluate": msg("evaluating"),
    "bundle": msg("bundling"),
    "report": msg("reporting"),
    "total": msg("in all"),
}

SUBSETS: Mapping[str, Message] = {
    "train": msg("training photographs"),
    "val": msg("validation photographs"),
    "test": msg("test photographs"),
}

TEXTS: Mapping[str, Message] = {
    "report": msg("Report"),
    "figures": msg("Figures"),
    "figures_lead": msg(
        "Each with its 95 % interval: were the model judged on other photographs of the same kind, the figure would "
        "most likely lie in it."
    ),
    "figure": msg("Figure"),
    "value": msg("Value"),
    "interval": msg("95 % interval"),
    "photographs": msg("Photographs"),
    "classes": msg("Classes"),
    "classes_lead": msg("Those the model finds least often come first."),
    "class": msg("Class"),
    "found": msg("Recall: found of this class"),
    "precision": msg("Precision"),
    "more_classes": msg("The other classes"),
    "confusion": msg("What is taken for what"),
    "confusion_lead": msg("A row is a true class, a column what the model said. On the diagonal it is right."),
    "counts": msg("Photographs"),
    "shares": msg("Share of the true class"),
    "true_class": msg("True class"),
    "prediction": msg("Prediction"),
    "pairs": msg("Most frequent mistakes"),
    "times": msg("Times"),
    "whole_matrix": msg("The whole matrix"),
    "no_mistakes": msg("There is no mistake to show."),
    "calibration": msg("Can its scores be believed?"),
    "calibration_lead": msg(
        "On the line, a score of 80 % is right 80 % of the time. Below it the model is too sure of itself, above it "
        "too modest. Points are larger where there are more photographs; the strokes are 95 % intervals."
    ),
    "score": msg("Score"),
    "right": msg("Right"),
    "wrong": msg("Wrong"),
    "right_share": msg("Right, of those with this score"),
    "distribution": msg("How many photographs have which score"),
    "as_table": msg("As a table"),
    "worst": msg("Worst mistakes"),
    "worst_lead": msg(
        "Where the model was surest and wrong. Some are hard, some may be labelled wrongly: look at them first."
    ),
    "heat": msg("What spoke for the answer"),
    "heat_lead": msg("Beside each photograph: what spoke for the answer, the brighter the more."),
    "no_worst": msg("No mistakes to show: every photograph got its label."),
    "no_picture": msg("no picture"),
    "rejected": msg("Files left out"),
    "rejected_lead": msg("These could not be read. They are neither trained on nor counted above."),
    "reason": msg("Reason"),
    "file": msg("File"),
    "notes": msg("Notes"),
    "made": msg("What was trained on what"),
    "model": msg("Model"),
    "backbone": msg("Backbone"),
    "dataset": msg("Data set"),
    "source": msg("Photographs from"),
    "split": msg("Split"),
    "seed": msg("Seed"),
    "computed_in": msg("Computed in"),
    "time": msg("Seconds"),
    "run": msg("Run"),
    "date": msg("Date"),
    "reject_threshold": msg("Asks a person below a score of"),
    "temperature": msg("Temperature of the scores"),
    "more_figures": msg("More figures"),
    "more_mistakes": msg("More mistakes"),
    "lower": msg("lower is better"),
    "made_by": msg("Made by Mirada. This page is one file, loads nothing and sends nothing."),
    "words": msg("What the words mean"),
    "baseline": msg("Always answering the most common class"),
}


def texts() -> dict[str, str]:
    """All fixed words in the language in force."""
    return {name: str(message) for name, message in TEXTS.items()}
