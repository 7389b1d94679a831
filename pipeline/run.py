"""Do what is missing: stage by stage, shard by shard, with a ledger of what failed."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cinefeat.pipeline import plan as planning
from cinefeat.pipeline.engines import LOCAL, use_engine
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.limits import NO_LIMITS, Limits, default_limits
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.plan import Node, plan, stages_of
from cinefeat.pipeline.progress import track
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.recipe import to_toml
from cinefeat.pipeline.renaming import require_renaming
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.stages import CHECKPOINT, Job, Stage
from cinefeat.pipeline.stopping import Stop, Stopped
from cinefeat.pipeline.store import (
    ProductWriter,
    csv_text,
    read_attrs,
    remove_stale_temporaries,
    write_text,
)
from cinefeat.pipeline.workers import Outcome, Task, WorkerPool, resolve

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """One invocation: what to compute, for which clips, where, and with what.

    Parameters
    ----------
    recipe : Recipe
    clips : tuple of Clip
        All clips of the manifest, in its order.
    store : Path
    folds : tuple of Fold
    shard : (int, int) or None
        Index and count: only the clips of that shard, and only stages per clip.
    jobs : int
        Worker processes.
    device : str
        "cpu", "cuda" or "cuda:k".
    engine : str
        Where to spread what is learned: "local" or "dask://HOST:PORT".
    only : str or None
        The one stage to run; its inputs must be there.
    sources : mapping of str to Path
        Folders of files that the stage imports, by what they hold.
    learned : mapping of str to str
        Identities of stages that are not to learn anew, as in `cinefeat.pipeline.plan.plan`.
    limits : Limits
        What a clip may cost at a stage; what is learned from all clips has no limit.
    """

    recipe: Recipe
    clips: tuple[Clip, ...]
    store: Path
    folds: tuple[Fold, ...]
    shard: tuple[int, int] | None = None
    jobs: int = 1
    device: str = "cpu"
    only: str | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)
    learned: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=default_limits)
    engine: str = "local"


@dataclass
class Summary:
    """What a run did.

    Parameters
    ----------
    seconds : dict of str to float
        Wall seconds per stage.
    made : dict of str to int
        Products written per stage.
    failures : dict of (str, str) to str
        Reason per clip and stage, of this invocation's clips; older ones that stand included.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)


def run(request: Request, stop: Stop | None = None) -> Summary:
    """Run the stages of a request that have products missing, and return what was done.

    Failed clips are tried again: their cause may be gone. Everything that is written is written
    atomically, so a run may be killed at any moment and started again.

    Raises
    ------
    InputError
        If a stage lacks inputs that this invocation was not to make, or the user's input is bad.
    Stopped
        If `stop` asked to end early; what was being made by then is finished or abandoned.
    """
    summary = Summary()
    remove_stale_temporaries(request.store, below=False)
    try:
        with WorkerPool(request.jobs, stop=stop) as pool:
            for stage in _selected(request):
                started = time.monotonic()
                summary.made[stage.name] = 0
                remove_stale_temporaries(request.store / stage.name)
                for nodes in _side_by_side(request, stage.name):
                    _run_nodes(request, nodes, pool, summary)
                summary.seconds[stage.name] = time.monotonic() - started
    except Stopped:
        _ledger(request)
        raise
    summary.failures = _ledger(request)
    return summary


def _selected(request: Request) -> tuple[Stage, ...]:
    stages = stages_of(request.recipe)
    if request.only is not None:
        chosen = tuple(stage for stage in stages if stage.name == request.only)
        if not chosen:
            known = ", ".join(stage.name for stage in stages)
            raise InputError(
                f"recipe {request.recipe.name} has no stage {request.only!r}; it has {known}"
            )
        if request.shard and chosen[0].per == "corpus":
            raise InputError(f"stage {request.only} learns from all clips: run it without --shard")
        return chosen
    if request.shard is None:
        return stages
    first_corpus = next((i for i, s in enumerate(stages) if s.per == "corpus"), len(stages))
    return stages[:first_corpus]


def nodes_of(request: Request, stage: str) -> list[Node]:
    """Return the nodes of a stage, one for each fold that makes a difference."""
    plans = (
        plan(request.recipe, request.store, request.clips, fold, request.learned)
        for fold in request.folds
    )
    nodes = (nodes_by_name[stage] for nodes_by_name in plans)
    return list({node.digest: node for node in nodes}.values())


def _side_by_side(request: Request, stage: str) -> list[list[Node]]:
    """Return the nodes of a stage in groups whose products are made at the same time.

    The folds of a stage do not need each other, so they share the workers. On a GPU they take
    turns: one training may fill its memory.
    """
    nodes = nodes_of(request, stage)
    return [nodes] if request.device == "cpu" else [[node] for node in nodes]


def _run_nodes(request: Request, nodes: list[Node], pool: WorkerPool, summary: Summary) -> None:
    tasks = {id(task): (node, task) for node in nodes for task in _tasks(request, node)}
    n_lost = pool.n_lost
    try:
        outcomes = pool.run([task for _, task in tasks.values()])
        for outcome in track(outcomes, len(tasks), nodes[0].stage.name):
            if pool.n_lost > n_lost:
                n_lost = pool.n_lost
                _remove_stale(nodes)
            node, _ = tasks[id(outcome.task)]
            _settle(node, outcome, summary)
    except BaseException:
        pool.abandon()
        _remove_stale(nodes)
        raise


def _tasks(request: Request, node: Node) -> list[Task]:
    """Return what is to be computed of a node, once its folder says what it is."""
    wanted = _wanted(request, node)
    _require_inputs(node, wanted)
    if wanted:
        require_renaming(request.store)
        write_text(node.folder / "recipe.toml", to_toml(_upstream(request.recipe, node)))
    unreadable = {clip.id: clip for clip in node.clips if clip.status == "unreadable"}
    for part in wanted:
        if part in unreadable:
            _fail(node, unreadable[part], unreadable[part].reason)
    attempted = [part for part in wanted if part not in unreadable]
    engine = request.engine if node.stage.per == "corpus" else LOCAL
    return [
        Task(
            f"{__name__}:make_product",
            replace(job, sources=request.sources, engine=engine),
            f"stage {job.stage}, {job.part}",
            request.limits if node.stage.per == "clip" else NO_LIMITS,
        )
        for job in planning.jobs(node, attempted, request.device)
    ]


def _remove_stale(nodes: list[Node]) -> None:
    for node in nodes:
        remove_stale_temporaries(node.folder)


def _wanted(request: Request, node: Node) -> list[str]:
    state = planning.progress(node)
    parts = [*state.missing, *state.failed]
    parts += _outdated(node, state.done) if node.stage.per == "clip" else []
    if request.shard:
        index, count = request.shard
        parts = [part for part in parts if planning.shard_of(part, count) == index]
    order = {part: i for i, part in enumerate(node.parts())}
    return sorted(parts, key=order.__getitem__)


def _outdated(node: Node, done: frozenset[str]) -> list[str]:
    """Return the clips whose product was made from a file that has changed since."""
    clips = (clip for clip in node.clips if clip.id in done and clip.sha256)
    return [clip.id for clip in clips if _source_of(node.product(clip.id)) != clip.sha256]


def _source_of(product: Path) -> str | None:
    try:
        return str(read_attrs(product).get("source_sha256"))
    except InputError:
        return None  # damaged on disk: made again


def _settle(node: Node, outcome: Outcome, summary: Summary) -> None:
    job: Job = outcome.task.argument
    if outcome.failure is None:
        summary.made[node.stage.name] += 1
        _log.debug("%s in %.2f s", outcome.task.label, outcome.seconds)
    elif node.stage.per == "clip":
        _fail(node, job.clips[0], outcome.failure)
    else:
        raise RuntimeError(f"{outcome.task.label}: {outcome.failure}")


def _fail(node: Node, clip: Clip, reason: str) -> None:
    product = node.product(clip.id)
    if clip.sha256 and product.exists() and _source_of(product) != clip.sha256:
        product.unlink(missing_ok=True)  # of an earlier file: else it would stand for the clip
    planning.record_failure(node, clip, reason)
    _log.warning("%s: %s failed: %s", node.stage.name, clip.id, reason)


def _require_inputs(node: Node, wanted: list[str]) -> None:
    used = set(wanted) if node.stage.per == "clip" else {clip.id for clip in node.clips}
    for need in node.needs if wanted else ():
        missing = planning.progress(need).missing
        names = missing if need.stage.per == "corpus" else [n for n in missing if n in used]
        if names:
            raise InputError(
                f"stage {node.stage.name} needs {len(names)} products of stage {need.stage.name} "
                f"that are not there ({names[0]} is one): run stage {need.stage.name} first"
            )


def _upstream(recipe: Recipe, node: Node) -> Recipe:
    """Return the recipe with the tables that a node depends on, and no others."""
    used = {node.stage.name}
    stack = list(node.needs)
    while stack:
        need = stack.pop()
        used.add(need.stage.name)
        stack += need.needs
    dropped = {stage.name: None for stage in stages_of(recipe) if stage.name not in used}
    return recipe.model_copy(update=dropped)


def _ledger(request: Request) -> dict[tuple[str, str], str]:
    """Write ``<store>/failures.csv``, and return the rows that are this invocation's to tell of.

    The file is a view of the records that lie beside the products, so shards that end at the same
    time do no harm: each writes all that is known.
    """
    every = {
        (clip, stage.name): reason
        for stage in stages_of(request.recipe)
        if stage.per == "clip"
        for node in nodes_of(request, stage.name)
        for clip, reason in planning.failures(node).items()
    }
    rows = [(clip, stage, reason) for (clip, stage), reason in sorted(every.items())]
    write_text(request.store / "failures.csv", csv_text([("clip", "stage", "reason"), *rows]))
    if request.shard is None:
        return every
    index, count = request.shard
    return {key: text for key, text in every.items() if planning.shard_of(key[0], count) == index}


def make_product(job: Job) -> None:
    """Make one product; called in a worker process."""
    started = time.process_time()
    run_stage: Callable[[Job, ProductWriter], None] = resolve(_function(job.stage))
    with use_engine(job.engine), ProductWriter(job.target, job.attrs) as product:
        run_stage(job, product)
        product.set_attrs({"cpu_seconds": time.process_time() - started})
    for ending in (".failed.json", CHECKPOINT):
        job.target.with_name(f"{job.target.stem}{ending}").unlink(missing_ok=True)


def _function(stage: str) -> str:
    from cinefeat.pipeline.stages import stage_named

    return stage_named(stage).run


def default_jobs() -> int:
    """Return the number of processors that this process may use: by affinity and control group."""
    from joblib import cpu_count

    return int(cpu_count())
