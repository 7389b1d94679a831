"""Arrays in, fitted estimators and scores out: nothing here sees a pixel or opens a file.

Public names are imported lazily, so that ``import cinefeat.classifiers`` costs no torch or
scikit-learn.
"""

import importlib
from typing import Any

if __name__ != "cinefeat.classifiers":
    raise ImportError(
        f"{__name__!r} is the source folder of cinefeat.classifiers: install the project and "
        "import that name"
    )

# public name -> the module that defines it
_PUBLIC: dict[str, str] = {
    "ActionVLAD": "action_vlad",
    "BagOfWords": "bow",
    "DT_GRIDS": "bow",
    "DiagonalGMM": "mixture",
    "FisherVector": "fisher",
    "KMeansCodebook": "codebook",
    "KernelSVM": "svm",
    "LRCN": "recurrent",
    "LinearSVM": "svm",
    "Mixture": "em",
    "PCA": "pca",
    "Pooling": "pooling",
    "RandomForest": "forest",
    "SGDSVM": "sgd",
    "SegmentConsensus": "consensus",
    "SigmoidCalibration": "calibration",
    "SnippetPooling": "snippet_pooling",
    "StackedSVM": "fusion",
    "TemporalAttention": "recurrent",
    "TrainingSettings": "training",
    "TwoStreamFusion": "stream_fusion",
    "VLAD": "vlad",
    "Validation": "training",
    "accumulate_gram": "linear",
    "accuracy": "metrics",
    "average_precision": "metrics",
    "bootstrap_difference": "compare",
    "chi2_distances": "kernels",
    "choose_c": "crossval",
    "classification_loss": "consensus",
    "concatenate_channels": "fusion",
    "confusion_matrix": "metrics",
    "encode_fisher": "fisher",
    "encode_vlad": "vlad",
    "fit_network": "training",
    "from_arrays": "arrays",
    "fuse_scores": "fusion",
    "grouped_folds": "crossval",
    "hellinger_kernel": "kernels",
    "intra_norm": "normalize",
    "l1_norm": "normalize",
    "l2_norm": "normalize",
    "learn_weights": "fusion",
    "mcnemar_test": "compare",
    "mean_average_precision": "metrics",
    "mean_class_accuracy": "metrics",
    "normalise_scores": "fusion",
    "out_of_fold_scores": "crossval",
    "pool_max": "pooling",
    "pool_mean": "pooling",
    "pool_segments": "pooling",
    "reservoir_sample": "sampling",
    "root_norm": "normalize",
    "signed_power": "normalize",
    "sum_kernels": "kernels",
    "to_arrays": "arrays",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
