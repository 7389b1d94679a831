"""How fast are the encoders beside scikit-learn and scikit-image, at equal quality?

Both sides get the same float32 data and start one after the other, `--rounds` times; a figure is
the ratio of the sums of CPU seconds (and of wall seconds, in parentheses). Threads are those of
OMP_NUM_THREADS. The data imitates descriptors: clustered, correlated, non-negative before PCA.
About 7 of 256 components hold more than a millionth of a descriptor; on dense trajectories of the
Weizmann actions it is 2 (HOF) to 9 (trajectory shape).

    OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 python benchmarks/bench_encoders.py [--json] [CASE ...]

Cases: fisher, fisher-noise, gmm, kmeans, minibatch, svm.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from skimage.feature import fisher_vector
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.mixture import GaussianMixture
from sklearn.svm import LinearSVC

from cinefeat.classifiers import (
    PCA,
    DiagonalGMM,
    KMeansCodebook,
    LinearSVM,
    Mixture,
    encode_fisher,
    root_norm,
)

Timed = dict[str, Any]


def interleaved(rounds: int, **calls: Callable[[], Any]) -> Timed:
    """Call each in turn, `rounds` times; sum CPU and wall seconds; keep the last results."""
    out: Timed = {name: {"cpu": 0.0, "wall": 0.0} for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.perf_counter()
            out[name]["result"] = call()
            out[name]["cpu"] += time.process_time() - cpu
            out[name]["wall"] += time.perf_counter() - wall
    return out


def ratios(timed: Timed, theirs: str = "theirs") -> Timed:
    return {
        "speed": timed[theirs]["cpu"] / timed["ours"]["cpu"],
        "speed by wall": timed[theirs]["wall"] / timed["ours"]["wall"],
        "CPU seconds of ours": timed["ours"]["cpu"],
        "CPU seconds of theirs": timed[theirs]["cpu"],
    }


def histograms(n: int, n_dims: int, seed: int) -> np.ndarray:
    """Root-normalised histograms: sparse mixtures of 400 prototypes, with multiplicative noise."""
    prototypes = np.random.default_rng(7).gamma(0.5, size=(400, n_dims))
    rng = np.random.default_rng(seed)
    mixing = rng.dirichlet(np.full(400, 0.01), size=n)
    return root_norm((mixing @ prototypes) * rng.gamma(80, 1 / 80, size=(n, n_dims))).astype(
        np.float32
    )


def descriptors(n: int, seed: int) -> np.ndarray:
    """96 dimensions halved by PCA, as HOG and MBH are before a Fisher vector."""
    pca = PCA(0.5).fit(histograms(20_000, 96, seed=99))
    parts = [pca.transform(histograms(16_000, 96, seed + i)) for i in range(-(-n // 16_000))]
    return np.concatenate(parts)[:n]


def theirs_of(mixture: Mixture) -> GaussianMixture:
    gmm = GaussianMixture(len(mixture.priors), covariance_type="diag")
    gmm.weights_ = mixture.priors.astype(np.float32)
    gmm.means_ = mixture.means.astype(np.float32)
    gmm.covariances_ = mixture.variances.astype(np.float32)
    gmm.precisions_cholesky_ = 1 / np.sqrt(gmm.covariances_)
    return gmm


def fisher(rounds: int, sample: np.ndarray, bags: np.ndarray) -> Timed:
    mixture = DiagonalGMM(256, max_iter=20, random_state=0).fit(sample).mixture
    gmm, values = theirs_of(mixture), mixture.means.size
    encode_fisher(bags[0], mixture)
    timed = interleaved(
        rounds,
        ours=lambda: [encode_fisher(bag, mixture) for bag in bags],
        theirs=lambda: [fisher_vector(bag, gmm, improved=True) for bag in bags],
    )
    difference = 0.0
    for ours, theirs in zip(timed["ours"]["result"], timed["theirs"]["result"], strict=True):
        by_mean, by_deviation = np.split(theirs[256:], [values])
        mended = np.concatenate([by_mean, -by_deviation])
        difference = max(difference, np.abs(ours - mended / np.linalg.norm(mended)).max())
    return ratios(timed) | {"greatest difference": float(difference)}


def bench_fisher(rounds: int) -> Timed:
    """K=256, D=48, twenty bags of 5,000."""
    bags = descriptors(100_000, 1000).reshape(20, 5000, 48)
    return fisher(rounds, descriptors(64_000, 0), bags)


def bench_fisher_noise(rounds: int) -> Timed:
    """The same on white noise: no component is negligible, the worst case of the shortlist."""
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((164_000, 48), np.float32)
    return fisher(rounds, sample[:64_000], sample[64_000:].reshape(20, 5000, 48))


def bench_gmm(rounds: int) -> Timed:
    """256,000 x 48, K=256, 10 iterations, each from its own k-means."""
    x = descriptors(256_000, 0)
    DiagonalGMM(2, max_iter=1, random_state=0).fit(x[:1000])
    timed = interleaved(
        rounds,
        ours=lambda: DiagonalGMM(256, max_iter=10, tol=0, random_state=0).fit(x),
        theirs=lambda: GaussianMixture(
            256, covariance_type="diag", max_iter=10, tol=0, random_state=0
        ).fit(x),
    )
    ours, theirs = timed["ours"]["result"], timed["theirs"]["result"]
    return ratios(timed) | {
        "log-likelihood of ours": ours.score(x),
        "log-likelihood of theirs": float(theirs.score(x.astype(np.float64))),
    }


def codebooks(rounds: int, theirs: Callable[[], Any]) -> Timed:
    x = histograms(100_000, 96, 0)
    KMeansCodebook(600, n_init=1, max_iter=1, random_state=0).fit(x[:1000])
    timed = interleaved(
        rounds,
        ours=lambda: KMeansCodebook(4000, n_init=1, random_state=0).fit(x),
        theirs=lambda: theirs().fit(x),
    )
    inertia = timed["ours"]["result"].inertia_
    return ratios(timed) | {"inertia, ours / theirs": inertia / timed["theirs"]["result"].inertia_}


def bench_kmeans(rounds: int) -> Timed:
    """100,000 x 96, K=4,000, one start, default stopping rules."""
    return codebooks(rounds, lambda: KMeans(4000, n_init=1, random_state=0))


def bench_minibatch(rounds: int) -> Timed:
    """The same beside MiniBatchKMeans."""
    return codebooks(rounds, lambda: MiniBatchKMeans(4000, n_init=1, random_state=0))


def bench_svm(rounds: int) -> Timed:
    """2,000 x 16,384, 50 classes, hinge, C=100."""
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 50
    x = rng.standard_normal((2000, 16_384), np.float32)
    x += 0.2 * rng.standard_normal((50, 16_384), np.float32)[y]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    train = slice(1000)
    LinearSVM().fit(x[:60, :100], y[:60])
    timed = interleaved(
        rounds,
        ours=lambda: LinearSVM(100.0).fit(x[train], y[train]),
        theirs=lambda: LinearSVC(C=100.0, loss="hinge", random_state=0).fit(x[train], y[train]),
    )
    predicted = [timed[side]["result"].predict(x[1000:]) for side in ("ours", "theirs")]
    return ratios(timed) | {"equal predictions": float(np.mean(predicted[0] == predicted[1]))}


# case -> the function, and the rounds that keep it to a few minutes
CASES = {
    "fisher": (bench_fisher, 3),
    "fisher-noise": (bench_fisher_noise, 1),
    "gmm": (bench_gmm, 1),
    "kmeans": (bench_kmeans, 1),
    "minibatch": (bench_minibatch, 1),
    "svm": (bench_svm, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, help="instead of each case's own number")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.cases or CASES:
        bench, rounds = CASES[name]
        results[name] = bench(arguments.rounds or rounds)
        if not arguments.json:
            print(f"{name}: {bench.__doc__}")
            for key, value in results[name].items():
                print(f"    {key:28} {value:12.5g}", flush=True)
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
