"""One vector per clip and network: its window features pooled over time.

Reads: the embed stage's product. Writes: per network an array (D,) float32, named after it.
"""

import numpy as np

from cinefeat.classifiers import l2_norm, pool_max, pool_mean, pool_segments
from cinefeat.pipeline.settings import PoolSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter, array_names, open_product, read_arrays

FEATURES = "/features"


def run(job: Job, product: ProductWriter) -> None:
    """Pool the features of one clip."""
    settings: PoolSettings = job.settings
    path = job.input("embed")
    with open_product(path) as file:
        names = [name for name in array_names(file) if name.endswith(FEATURES)]
    for name, rows in read_arrays(path, names).items():
        vector = _pool(rows.astype(np.float32), settings)
        product.write(name.removesuffix(FEATURES), l2_norm(vector) if settings.l2_norm else vector)


def _pool(rows: np.ndarray, settings: PoolSettings) -> np.ndarray:
    if settings.pooling == "segments":
        return pool_segments(rows, settings.n_segments)
    return (pool_max if settings.pooling == "max" else pool_mean)(rows)
