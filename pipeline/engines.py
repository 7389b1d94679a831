"""Where stages that learn from the corpus compute: in their process, or on a cluster of Dask."""

import contextlib
import logging
import re
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import joblib

from cinefeat.pipeline.errors import InputError

LOCAL = "local"
_CONNECT_SECONDS = 20


def parse_engine(text: str) -> str:
    """Check the name of an engine, ``local`` or ``dask://HOST:PORT``, and that it answers."""
    if text != LOCAL and not re.fullmatch(r"dask://[^\s/]+:\d+", text):
        raise InputError(f"--engine is {text!r}; it is local or dask://HOST:PORT")
    with use_engine(text):
        return text


@contextlib.contextmanager
def use_engine(name: str) -> Iterator[None]:
    """Let what estimators spread run on an engine, within the block.

    Raises
    ------
    InputError
        If the engine does not answer, has no workers, or they do not have this version of cinefeat;
        within the block, if the scheduler is lost, or a call kills worker after worker.
    """
    if name == LOCAL:
        yield
        return
    client = _connect(name)
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        with joblib.parallel_config("dask", client=client):
            yield
    except KilledWorker as error:
        raise InputError(
            f"--engine {name}: a call was given up, for {error.allowed_failures + 1} workers died at "
            f"it, last {error.last_worker.address}: give each worker more memory, or fewer threads"
        ) from error
    except Exception as error:
        # a lost scheduler shows as errors of many types, a name that became None among them
        if client.status == "running" and not isinstance(error, (CancelledError, CommClosedError)):
            raise
        raise InputError(
            f"--engine {name}: its scheduler was lost: start it again, then run the same line again"
        ) from error
    finally:
        client.close()


def _connect(name: str) -> Any:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise InputError(
            f"--engine {name} needs dask.distributed: pip install 'cinefeat[dask]'"
        ) from error
    logging.getLogger("distributed").setLevel(logging.ERROR)
    address = name.replace("dask://", "tcp://")
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except OSError as error:  # TimeoutError among them
        raise InputError(
            f"--engine {name}: no scheduler answers there: start dask scheduler"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        found = client.run(installed_version)
    except TimeoutError as error:
        client.close()
        raise InputError(f"--engine {name}: it has no workers: start dask worker") from error
    except ImportError as error:
        client.close()
        raise InputError(
            f"--engine {name}: its workers have no cinefeat: install it there"
        ) from error
    if wrong := sorted(set(found.values()) - {installed_version()}):
        client.close()
        raise InputError(
            f"--engine {name}: its workers have cinefeat {wrong[0]}, here it is "
            f"{installed_version()}: install the same version"
        )
    return client


def installed_version() -> str:
    """Return the version of cinefeat; also called on the workers."""
    from importlib import metadata

    return metadata.version("cinefeat")
