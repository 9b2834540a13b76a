"""Learning rate over the epochs, a pure function: there is no state to save or to restore."""

import math

from wbc.config import Schedule


def factor(settings: Schedule, epoch: int, epochs: int) -> float:
    """What every learning rate is multiplied with in `epoch` (from 0), constant within it.

    `cosine` falls once over all `epochs`; `restarts` falls over each `period` and starts again (report, eq. 5;
    Loshchilov and Hutter 2017). `floor` is the fraction left at the end.
    """
    period = epochs if settings.name == "cosine" else settings.period
    cosine = (1 + math.cos(math.pi * (epoch % period) / period)) / 2
    return settings.floor + (1 - settings.floor) * cosine


def factors(settings: Schedule, epoch: int, epochs: int, freeze: int) -> tuple[float, float]:
    """The factors of backbone and head where the backbone is frozen for the first `freeze` of the epochs.

    The head learns at its full rate meanwhile; the schedule begins when both train (report §7.7.3).
    """
    if epoch < freeze:
        return 0.0, 1.0
    scale = factor(settings, epoch - freeze, epochs - freeze)
    return scale, scale
