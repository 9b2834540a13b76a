"""Learning rates as a pure function of the epoch, so that there is no state to save."""

import math

from wbc.config.schema import Schedule


def _cosine(epoch: int, period: int) -> float:
    """Fall from 1 to 0 over a period, then start again (report, eq. 5; Loshchilov and Hutter 2017)."""
    return (1 + math.cos(math.pi * (epoch % period) / period)) / 2


SCHEDULES = {  # values of schedule.name: functions of settings, epoch (from 0) and number of epochs
    "cosine": lambda settings, epoch, epochs: _cosine(epoch, epochs),
    "restarts": lambda settings, epoch, epochs: _cosine(epoch, settings.period),
}


def factors(settings: Schedule, epoch: int, epochs: int, freeze: int) -> tuple[float, float]:
    """Factors of the learning rates of backbone and head in an epoch (from 0), never below `floor`.

    While the backbone is frozen, in the first `freeze` epochs, its factor is 0 and the head's is 1; the schedule begins
    afterwards (report §7.7.3). If the backbone is never trained, the head follows the schedule.
    """
    if epoch < freeze < epochs:
        return 0.0, 1.0
    start = freeze if freeze < epochs else 0
    scale = settings.floor + (1 - settings.floor) * SCHEDULES[settings.name](settings, epoch - start, epochs - start)
    return (scale if freeze < epochs else 0.0), scale
