"""cinefeat: offline optical flow, video features and classical action classifiers."""

__version__ = "0.1.0"
