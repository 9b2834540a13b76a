"""Calibration of each network and blend on the test part, before and after a temperature."""

import numpy as np
import pandas as pd

from wbc.report.study import Study
from wbc.scoring.calibration import apply_temperature, calibration, fit_temperature, reliability

ERRORS = ("row", "probabilities", "temperature", "ece", "ece_by_chance", "classwise_ece", "nll", "brier")
CURVES = ("row", "probabilities", "confidence", "right", "images")


def calibration_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors with the columns `ERRORS`, and reliability curves with the columns `CURVES`; repeats are pooled.

    A model has two lines of errors without TTA and two with: at temperature 1, and at the temperature with the lowest
    NLL on the validation part, one for each repeat, of which the line has the mean. Curves are at temperature 1.
    """
    errors, curves = [], []
    for model in study.of_kind("network", "blend"):
        pairs = [[model.predictions(repeat, part) for part in ("validation", "test")] for repeat in study.repeats]
        pairs = [(validation, test) for validation, test in pairs if test and (test.target >= 0).any()]
        for tta, words in (("probabilities", "plain"), ("tta", "with TTA")) if pairs else ():
            temperatures = [fit_temperature(validation.target, getattr(validation, tta)) for validation, _ in pairs]
            known = [(test.target[test.target >= 0], getattr(test, tta)[test.target >= 0]) for _, test in pairs]
            target, plain = map(np.concatenate, zip(*known, strict=True))
            tempered = [apply_temperature(each, t) for (_, each), t in zip(known, temperatures, strict=True)]
            for t, each in ((1.0, plain), (float(np.mean(temperatures)), np.concatenate(tempered))):
                errors.append((model.name, words, t, *calibration(target, each).values()))
            curve = reliability(plain.argmax(1) == target, plain.max(1))
            curves += [(model.name, words, confidence, right, int(images)) for confidence, right, images in curve]
    return pd.DataFrame(errors, columns=list(ERRORS)), pd.DataFrame(curves, columns=list(CURVES))
