"""Names for the types that every module of the package writes in its signatures."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
RandomState: TypeAlias = int | np.random.Generator | np.random.RandomState | None
