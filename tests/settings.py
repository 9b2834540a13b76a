"""Settings of trainings for tests."""

from wbc.config.schema import Augment

STILL = Augment(
    flip=0.0, rotation=0.0, translate=0.0, scale=[1.0, 1.0], brightness=0.0, contrast=0.0, saturation=0.0,
    stain=0.0, erase=0.0, erase_scale=[0.1, 0.1],
)  # fmt: skip


def changed(row, **groups):
    """The row with some settings of its groups replaced."""
    return row.model_copy(
        update={name: getattr(row, name).model_copy(update=values) for name, values in groups.items()}
    )
