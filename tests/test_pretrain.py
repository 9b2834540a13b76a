"""The weights that the sample's ConvNeXt starts from."""

import cv2
import numpy as np
import torch

from tools.pretrain import SEED, draw_cell, measure_cells, pretrain
from wbc.synthetic import class_counts, draw, write_dataset


def test_no_cell_is_part_of_a_sample_with_the_same_seed(tmp_path):
    write_dataset(tmp_path, {"train": class_counts(26, 1)}, 48, seed=SEED)
    labels = [line.split(",")[1] for line in (tmp_path / "labels.csv").read_text().splitlines()[1:]]
    sample = [draw(label, 48, np.random.default_rng([SEED, i]))[0] for i, label in enumerate(labels)]
    first = cv2.imencode(".jpg", sample[0][..., ::-1], [1, 95])[1]
    assert first.tobytes() == min((tmp_path / "images").glob("*")).read_bytes()  # a sample is drawn like this
    cells = {draw_cell(index, 48).tobytes() for index in range(len(labels) * 13)}
    assert not cells & {image.tobytes() for image in sample}


def test_it_learns_the_measured_features():
    images, features = measure_cells(39, drawn=48, size=32)
    assert (images.shape, images.dtype, features.shape) == ((39, 32, 32, 3), torch.uint8, (39, 89))
    assert features.mean(0).abs().max() < 0.2  # not 0 because of the clipping
    (backbone, errors), (again, _) = (pretrain(images, features, epochs=15, batch_size=13) for _ in range(2))
    assert errors[-1] < 0.95 * errors[0]
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), again.parameters(), strict=True))
