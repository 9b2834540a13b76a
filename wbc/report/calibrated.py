"""How far each network's probabilities can be trusted on the test part, before and after a temperature."""

import numpy as np
import pandas as pd

from wbc.report.study import HOME, Model, Study
from wbc.scoring.calibration import calibration, reliability, scaled, temperature

WAYS = {False: "plain", True: "with TTA"}
ERRORS = ("row", "probabilities", "temperature", "ece", "ece_by_chance", "classwise_ece", "nll", "brier")
CURVES = ("row", "probabilities", "confidence", "right", "images")


def calibrated(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The errors, with the columns `ERRORS`, and the reliability curves at temperature 1, with the columns `CURVES`.

    Each row has two lines of errors plainly and two with TTA: at temperature 1, and at the temperature with the least
    NLL on the validation part, of repeats each at its own (the table says their mean). Repeats are pooled.
    """
    errors, curves = [], []
    for model in [*study.of_kind("network"), *study.of_kind("blend")]:
        row = model.name
        for tta, words in WAYS.items():
            parts = [part for repeat in study.repeats if (part := _part(model, repeat, tta))]
            if not parts:
                continue
            target, probabilities, tempered, each_t = (list(each) for each in zip(*parts, strict=True))
            target, plain = np.concatenate(target), np.concatenate(probabilities)
            for t, each in ((1.0, plain), (float(np.mean(each_t)), np.concatenate(tempered))):
                errors.append((row, words, t, *calibration(target, each).values()))
            curve = reliability(plain.argmax(1) == target, plain.max(1))
            curves += [(row, words, confidence, right, int(images)) for confidence, right, images in curve]
    return pd.DataFrame(errors, columns=list(ERRORS)), pd.DataFrame(curves, columns=list(CURVES))


def _part(model: Model, repeat: int, tta: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, float] | None:
    """Targets and probabilities of the labelled test images, these at the validation's temperature, and that."""
    validation, test = (model.predictions(repeat, part) for part in HOME)
    if not test or not (known := test.target >= 0).any():
        return None
    on_validation, on_test = (part.tta if tta else part.probabilities for part in (validation, test))
    t = temperature(validation.target, on_validation)
    return test.target[known], on_test[known], scaled(on_test[known], t), t
