"""Jobs on Dask: a cluster on this machine, or any scheduler that is running (SLURM, Kubernetes, SSH have theirs)."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnpf.batch.job import Job, Outcome, State, kept, run_job
from nnpf.errors import NnpfError

if TYPE_CHECKING:
    from distributed import Client

# How long a scheduler may take to answer, in seconds.
CONNECT_TIMEOUT = 20

Tell = Callable[[Outcome], None]


@contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """A scheduler and worker processes of our own, one thread each."""
    import dask
    from distributed import Client, LocalCluster

    cluster_of: Any = LocalCluster  # the library has no types
    client_of: Any = Client
    # Neither a page to look at nor a folder to spill to: jobs hand each other a few bytes.
    with (
        dask.config.set({"distributed.worker.use-file-locking": False, "logging.distributed": "error"}),
        cluster_of(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        client_of(cluster, timeout=CONNECT_TIMEOUT) as client,
    ):
        try:
            yield client
        except KeyboardInterrupt:
            # Who stops it does not want to wait for workers to end in good order, nor for their commands.
            for nanny in cluster.workers.values():
                nanny.auto_restart = False
                if nanny.pid:
                    os.kill(nanny.pid, signal.SIGKILL)
            raise


@contextmanager
def remote_client(address: str) -> Iterator[Client]:
    """A scheduler that is running, by its address or the file that it has written. NnpfError where none answers."""
    from distributed import Client

    client_of: Any = Client
    try:
        where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
        client = client_of(timeout=CONNECT_TIMEOUT, **where)
    except (OSError, ValueError) as error:
        raise NnpfError(f"no Dask scheduler answers: {error}", subject=address) from None
    with client:
        yield client


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """The folder of a batch, for one run at a time. What a run that was stopped left half done is removed."""
    for name in ("steps", "failed"):
        (root / name).mkdir(parents=True, exist_ok=True)
    handle = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NnpfError("another batch is at work in this folder", subject=str(root)) from None
        for left in (root / "steps").glob(".*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(handle)


def run(
    jobs: Mapping[str, Job],
    root: Path,
    client: Callable[[], Any],
    *,
    timeout: float | None = None,
    tell: Tell = lambda _: None,
) -> dict[str, Outcome]:
    """Run what has not been done yet.

    A job whose worker dies goes to another one; if that happens again and again, it has failed. What fails stops only
    the jobs that need it.

    Args:
        jobs: by key; a job comes after those that it needs.
        client: a context manager that connects to a scheduler; called only if there is something to do.
        timeout: seconds for one job.
        tell: called for each job as it ends.
    """
    outcomes: dict[str, Outcome] = {}
    for job in jobs.values():
        found = kept(job, root)
        if found is not None:
            outcomes[job.key] = found
            tell(found)
    left = [job for job in jobs.values() if job.key not in outcomes]
    if not left:
        return outcomes
    with client() as connected:
        for outcome in _run(left, outcomes, root, connected, timeout):
            outcomes[outcome.key] = outcome
            tell(outcome)
    return outcomes


def _run(
    left: list[Job], known: Mapping[str, Outcome], root: Path, client: Client, timeout: float | None
) -> Iterator[Outcome]:
    from distributed import as_completed

    completed: Any = as_completed
    futures: dict[str, Any] = {}
    for job in left:
        needed = [futures.get(key) or known[key] for key in job.needs]
        futures[job.key] = client.submit(
            run_job, job, str(root), timeout, *needed, key=f"{job.step}-{job.key}", pure=False
        )
    of = {future.key: job for job, future in zip(left, futures.values(), strict=True)}
    for future in completed(futures.values()):
        job = of[future.key]
        if future.status == "finished":
            yield future.result()
        elif future.status == "error":
            yield Outcome(job.key, job.step, State.FAILED, _one_line(future.exception()))
        else:
            yield Outcome(job.key, job.step, State.FAILED, f"{future.status}: the scheduler has lost it")


def _one_line(error: BaseException | None) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
