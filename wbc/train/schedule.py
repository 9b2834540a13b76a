"""Learning rate over the epochs, a pure function: there is no state to save or to restore."""

import math

from wbc.config.schema import Schedule


def _cosine(epoch: int, period: int) -> float:
    """From 1 down to 0 over a period, and again (report, eq. 5; Loshchilov and Hutter 2017)."""
    return (1 + math.cos(math.pi * (epoch % period) / period)) / 2


SCHEDULES = {  # schedule.name, whose allowed values are these: settings, epoch (from 0) and all epochs → 0…1
    "cosine": lambda settings, epoch, epochs: _cosine(epoch, epochs),
    "restarts": lambda settings, epoch, epochs: _cosine(epoch, settings.period),
}


def factor(settings: Schedule, epoch: int, epochs: int) -> float:
    """What every learning rate is multiplied with in `epoch` (from 0), constant within it; never below `floor`."""
    return settings.floor + (1 - settings.floor) * SCHEDULES[settings.name](settings, epoch, epochs)


def factors(settings: Schedule, epoch: int, epochs: int, freeze: int) -> tuple[float, float]:
    """The factors of backbone and head where the backbone is frozen for the first `freeze` of the epochs.

    The head learns at its full rate meanwhile; the schedule begins when both train (report §7.7.3). Where the backbone
    stays frozen, the schedule is the head's.
    """
    if freeze >= epochs:
        return 0.0, factor(settings, epoch, epochs)
    if epoch < freeze:
        return 0.0, 1.0
    scale = factor(settings, epoch - freeze, epochs - freeze)
    return scale, scale
