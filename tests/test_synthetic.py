"""The synthetic cells, their masks and files, and the sheet that shows them."""

import cv2
import numpy as np
import pandas as pd
import pytest
from skimage.measure import regionprops

from wbc.core.classes import CLASSES, TABLE_1
from wbc.dataset.contact import contact_sheet
from wbc.synthetic import class_counts, draw, write_dataset

COUNTS = {"train": class_counts(120, 4), "test": class_counts(40, 2)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A folder of drawn images, and its table."""
    folder = tmp_path_factory.mktemp("synthetic")
    write_dataset(folder, COUNTS, size=32, seed=5)
    return folder, pd.read_csv(folder / "labels.csv", dtype=str)


def draw_many(label, size, count):
    return [draw(label, size, np.random.default_rng([11, i])) for i in range(count)]


def test_same_arguments_give_the_same_bytes_and_labels_match_the_files(dataset, tmp_path):
    folder, labels = dataset
    write_dataset(tmp_path, COUNTS, size=32, seed=5)
    first, second = ({p.relative_to(of): p.read_bytes() for p in of.rglob("*.*")} for of in (folder, tmp_path))
    assert first == second
    for files in ("images/*.jpg", "masks/*.png"):
        assert {path.stem for path in folder.glob(files)} == set(labels["ID"])
    for part, counts in COUNTS.items():
        assert labels[labels["part"] == part]["labels"].value_counts().to_dict() == counts


@pytest.mark.parametrize("column", ["labels", "part"])
def test_ids_do_not_reveal(column, dataset):
    """Neighbouring IDs differ as often as in random order, and all classes are spread over the IDs."""
    values = dataset[1].sort_values("ID")[column].to_numpy()
    changes = np.mean(values[1:] != values[:-1])
    expected = 1 - sum((np.mean(values == value)) ** 2 for value in np.unique(values))
    assert abs(changes - expected) < 4 * np.sqrt(0.25 / len(values))
    assert np.corrcoef(np.arange(len(values)), values == values[0])[0, 1] ** 2 < 16 / len(values)


def test_counts_follow_table_1_down_to_the_minimum():
    assert class_counts(sum(TABLE_1.values()), 0) == TABLE_1
    assert [class_counts(1000, 8)[label] for label in ("SNE", "LY", "PLY", "PC")] == [450, 280, 8, 8]


@pytest.mark.parametrize("label", CLASSES)
def test_the_mask_is_a_dark_nucleus_inside_a_cell_inside_the_frame(label):
    tones = []
    for size in (48, 224):
        for image, mask in draw_many(label, size, 3):
            assert image.shape == (size, size, 3)
            assert mask.shape == (size, size)
            assert image.dtype == mask.dtype == np.uint8
            assert set(np.unique(mask)) == {0, 1, 2}
            assert not np.concatenate([mask[[0, -1]], mask[:, [0, -1]].T]).any()
            tones.append([image.mean(axis=2)[mask == part].mean() for part in (2, 1, 0)])
    touching = cv2.dilate(np.uint8(mask == 2), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    assert not touching[mask == 0].any()  # at the larger size, cytoplasm surrounds the nucleus
    nucleus, cytoplasm, background = np.mean(tones, axis=0)
    assert nucleus + 15 < cytoplasm < background - 10


@pytest.mark.parametrize("label", CLASSES)
def test_the_same_generator_gives_the_same_smear_at_any_size(label):
    small, large = (draw(label, size, np.random.default_rng(3)) for size in (64, 192))
    shrunk = cv2.resize(large[0], (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(small[0].astype(int) - shrunk).mean() < 4
    assert np.mean(small[1] == large[1][1::3, 1::3]) > 0.98


def test_the_surroundings_do_not_depend_on_the_class():
    y, x = np.mgrid[:96, :96] / 96 - 0.5
    outside = np.hypot(x, y) > 0.42
    first, *others = (draw(label, 96, np.random.default_rng(8))[0][outside].mean(axis=1) for label in CLASSES)
    assert min(np.corrcoef(first, other)[0, 1] for other in others) > 0.9


def test_nuclei_lose_solidity_as_granulocytes_mature():
    def solidity(label):
        return np.mean([regionprops((mask == 2).astype(int))[0].solidity for _, mask in draw_many(label, 96, 15)])

    assert solidity("SNE") + 0.1 < solidity("BNE") + 0.08 < solidity("MY")


def test_contact_sheet_has_a_row_per_class_and_blanks_for_missing_images():
    red = np.full((50, 40, 3), (255, 0, 0), np.uint8)
    sheet = contact_sheet({"SNE": [red] * 9, "PLY": [red]}, columns=4, tile=32)
    assert sheet.shape == (2 * 32, 5 * 32, 3)
    middles = sheet[16::32, 48::32].reshape(8, 3)
    assert (middles[:5] == (255, 0, 0)).all()
    assert (middles[5:] > 200).all()
    assert (sheet[:32, :32] < 100).any()  # the label is written
