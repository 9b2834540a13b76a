"""What the report prints: Tables 2 to 8 (Table 1 is `wbc.core.classes.TABLE_1`) and the results in its text."""

from typing import NamedTuple


class Published(NamedTuple):
    """A row of the study: macro F1 on the report's validation split and on the challenge's leaderboard."""

    title: str | None = None
    val_f1: float | None = None
    leaderboard: float | None = None


# In the report's order: Tables 3 and 4 (their best classifier), 6, 7 and 8; §7.4 for the plain cosine.
ROWS = {
    "v1-classical": Published("Best of six classifiers, 9 features", 0.326),
    "v2-classical": Published("Best of six classifiers, 89 features", 0.400),
    "v2-gridsearch": Published("SMOTE + grid, gradient boosting", 0.521, 0.491),
    "efficientnet": Published("EfficientNet-B3, weighted cross-entropy", 0.646, 0.6850),
    "convnext_cosine": Published("ConvNeXt-Tiny, focal loss, cosine", 0.6460),
    "convnext_restarts": Published("+ warm restarts", 0.6960, 0.7327),
    "convnext_restarts-tta": Published("its TTA", 0.6983, 0.7467),
    "mixup": Published("+ MixUp", 0.730, 0.7279),
    "freeze": Published("+ frozen backbone, 5 epochs", 0.723, 0.7601),
    "cutmix": Published("+ CutMix", 0.708, 0.7626),
    "final": Published("+ weight decay 1e-2, γ = 1, 1/√n weights", 0.725, 0.7739),
}

FEATURE_COUNTS = {  # Table 2, as printed
    "Morphology (cell + nucleus)": ("4", "~21"),
    "Colour (RGB + HSV, 3 regions)": ("3", "~39"),
    "Texture GLCM": ("2", "20"),
    "Texture LBP": ("0", "10"),
    "Total": ("9", "89"),
}

CLASSIFIERS = {  # Tables 3 and 4, in their order: accuracy, macro F1
    "v1": {
        "random_forest": (0.783, 0.326),
        "gradient_boosting": (0.766, 0.305),
        "knn": (0.740, 0.293),
        "svm_rbf": (0.766, 0.256),
        "adaboost": (0.663, 0.174),
        "logistic_regression": (0.665, 0.165),
    },
    "v2": {
        "gradient_boosting": (0.824, 0.400),
        "random_forest": (0.831, 0.391),
        "svm_rbf": (0.683, 0.381),
        "logistic_regression": (0.669, 0.381),
        "knn": (0.762, 0.277),
        "adaboost": (0.735, 0.200),
    },
}
NAMES = {
    "random_forest": "Random forest",
    "gradient_boosting": "Gradient boosting",
    "knn": "KNN",
    "svm_rbf": "SVM (RBF)",
    "adaboost": "AdaBoost",
    "logistic_regression": "Logistic regression",
    "lda": "LDA",
}

AUGMENTATION = (  # Table 5: transformation, parameters, and the same of the settings `augment`
    ("HorizontalFlip", "p = 0.5", "p = {flip:g}"),
    ("VerticalFlip", "p = 0.5", "p = {flip:g}"),
    ("Rotation", "[-180, +180]", "[-{rotation:g}, +{rotation:g}]"),
    ("Affine", "transl. 0.10, scale [0.85, 1.15]", "transl. {translate:.2f}, scale [{scale[0]:g}, {scale[1]:g}]"),
    (
        "ColorJitter",
        "bright. 0.3, contr. 0.3, sat. 0.2",
        "bright. {brightness:g}, contr. {contrast:g}, sat. {saturation:g}",
    ),
    ("Erasing", "p = 0.25, scale [0.02, 0.12]", "p = {erase:g}, scale [{erase_scale[0]:g}, {erase_scale[1]:g}]"),
)

# Tables 6 to 8: configuration, validation F1 and leaderboard as that table prints them; then the row here, and which
# of its scores stand beside them. Table 6 has a validation F1 with TTA, though §7.6 says there is none; which of the
# later submissions used TTA the report does not say, but their baseline did.
TABLE_6 = (
    ("Classical ML (GradientBoosting)", 0.521, 0.491, "v2-gridsearch", "val_f1", "test_f1"),
    ("EfficientNet-B3 + CrossEntropy", 0.646, 0.6850, "efficientnet", "val_f1", "test_f1"),
    ("ConvNeXt-Tiny + FocalLoss + WarmRestarts", 0.6960, 0.7327, "convnext_restarts", "val_f1", "test_f1"),
    ("+ TTA (R = 8, T = 0.8)", 0.6983, 0.7467, "convnext_restarts", "val_f1_tta", "test_f1_tta"),
)
TABLE_7 = (
    ("Baseline (TTA)", 0.696, 0.747, "convnext_restarts", "val_f1", "test_f1_tta"),
    ("+ MixUp (α = 0.4)", 0.730, 0.728, "mixup", "val_f1", "test_f1_tta"),
)
TABLE_8 = (
    ("Baseline ConvNeXt + TTA", 0.696, 0.747, "convnext_restarts", "val_f1", "test_f1_tta"),
    ("+ MixUp (α = 0.4)", 0.730, 0.728, "mixup", "val_f1", "test_f1_tta"),
    ("+ Freeze backbone 5 ep.", 0.723, 0.7601, "freeze", "val_f1", "test_f1_tta"),
    ("+ CutMix 50/50", 0.708, 0.7626, "cutmix", "val_f1", "test_f1_tta"),
    ("+ WD 10⁻² + γ = 1 + 1/√n", 0.725, 0.7739, "final", "val_f1", "test_f1_tta"),
)

# Single classes on the validation part: confusion matrix, heading, score, and what the text prints of it (§4.3; §7.2.2;
# §7.6.1, which also has EfficientNet's recalls; §7.7.7).
PER_CLASS = (
    ("v2-gradient_boosting", "boosting, recall", "recall", {"SNE": 0.95, "LY": 0.90, "MO": 0.79, "BA": 0.62}),
    ("efficientnet", "EfficientNet, F1", "f1", {"PLY": 0.00, "MMY": 0.42, "PMY": 0.17}),
    ("efficientnet", "EfficientNet, recall", "recall", {"PLY": 0.00, "VLY": 0.44}),
    ("convnext_restarts", "restarts, recall", "recall", {"PLY": 0.50, "VLY": 0.60}),
    (
        "final",
        "final, recall",
        "recall",
        {
            "BA": 0.97, "BL": 0.92, "EO": 0.95, "LY": 0.91, "MO": 0.83, "SNE": 0.88,
            "PLY": 0.50, "PC": 0.40, "PMY": 0.24, "VLY": 0.64, "MMY": 0.59,
        },
    ),
)  # fmt: skip

GRID = (200, 5)  # boosting rounds and depth chosen (§4.4)
COSINE = (8, 15)  # best epoch and the one that early stopping ended with (§7.4)
RESTARTS = (28, 60)  # best epoch and the epochs planned (§7.4); with a patience of 20 it must have stopped at 48
TTA_GAIN = 0.014  # macro F1 on the leaderboard (§7.5)
BNE_AS_SNE = 0.19  # of the band neutrophils, by the best ConvNeXt with warm restarts (§7.6.1)

# Not the report's: two readings of the same 4,975 cells, in 11 of the 13 classes, of another set from the hospital of
# the challenge's images (Chula-WBC-8, labels.csv: its "label machine", and the summary of five experts).
CEILING = (
    "Real cells set a ceiling: of the same 4,975 of them, an analyser's labels and those of five experts agree to a "
    "macro F1 of 0.725, and to 0.13 on BNE. A score above that means agreeing with whoever labelled the images more "
    "closely than a second reader would, not knowing the cells better."
)
