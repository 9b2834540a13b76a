"""Scores by hand, and the projection."""

import numpy as np
import pytest

from wbc.embed import project
from wbc.metrics import accuracy, confusion, macro_f1, per_class


def test_macro_f1_by_hand():
    target, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    # F1: class 0 2·2/(3+3) = 2/3, class 1 2·2/(2+3) = 4/5, class 2 0
    assert macro_f1(target, predicted) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert accuracy(target, predicted) == pytest.approx(4 / 6)
    assert [(row[0], row[4]) for row in per_class(target, predicted)] == [("SNE", 3), ("LY", 2), ("MO", 1)]
    assert per_class(target, predicted)[0][1:4] == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert confusion(target, predicted)[:3] == [("SNE", "SNE"), ("SNE", "SNE"), ("SNE", "LY")]


def test_an_unlabelled_part_has_no_scores_by_class():
    nothing = np.array([], np.int64)
    assert per_class(nothing, nothing) == confusion(nothing, nothing) == []


def test_a_class_nobody_has_and_nobody_claims_is_no_failure():
    assert macro_f1(np.array([0, 5]), np.array([0, 5])) == 1.0


def test_tsne_separates_what_is_apart_and_repeats_itself():
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], 20)
    embeddings = rng.normal(size=(40, 8)).astype(np.float32) + 20 * targets[:, None]
    points = project(embeddings, perplexity=30, seed=1)  # more than 39 / 3: lowered
    assert points.shape == (40, 2)
    between = np.linalg.norm(points[targets == 0].mean(0) - points[targets == 1].mean(0))
    assert between > 3 * points[targets == 0].std()
    assert np.array_equal(points, project(embeddings, 30, 1))
    assert project(embeddings[:2], 30, 1).shape == (2, 2)
