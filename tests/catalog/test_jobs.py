"""The queue: each job is given out once, and outlives the worker that took it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from mirada.catalog import schema
from mirada.catalog.catalog import Catalog
from mirada.errors import Conflict, NotFound

CLAIM_AND_DIE = """
import os, signal, sys
from mirada.catalog.catalog import Catalog
job = Catalog.open(sys.argv[1]).claim("train")
print(job.job_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_jobs_come_in_order_and_once(catalog: Catalog, kept: Callable, recounted: Callable) -> None:
    assert catalog.claim("train") is None
    ids = [catalog.enqueue("train", {"seed": i, "name": "año"}) for i in range(3)]
    catalog.enqueue("clean", {})
    job = catalog.claim("train")
    assert job is not None
    assert (job.job_id, job.payload, job.status, job.n_attempts) == (ids[0], {"seed": 0, "name": "año"}, "running", 1)
    catalog.heartbeat(job.job_id)
    assert catalog.finish(job.job_id).status == "done"
    assert [catalog.claim("train").job_id for _ in range(2)] == ids[1:]  # type: ignore[union-attr]
    assert catalog.claim("train") is None
    assert [job.job_id for job in catalog.jobs("running")] == ids[1:]
    assert [job.kind for job in catalog.jobs(after=ids[2])] == ["clean"]
    assert kept(catalog) == recounted(catalog)


def test_many_workers_never_share_a_job(catalog: Catalog) -> None:
    ids = [catalog.enqueue("train", {}) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: catalog.claim("train"), range(48)))
    assert sorted(job.job_id for job in claimed if job is not None) == ids


def test_an_error_is_tried_again_until_the_attempts_are_used_up(catalog: Catalog) -> None:
    job_id = catalog.enqueue("train", {}, max_attempts=2)
    catalog.claim("train")
    assert catalog.finish(job_id, "no memory").status == "queued"
    assert catalog.job(job_id).error == "no memory"
    catalog.claim("train")
    failed = catalog.finish(job_id, "no memory again")
    assert (failed.status, failed.error, failed.n_attempts) == ("failed", "no memory again", 2)
    assert failed.ended_at is not None
    assert catalog.claim("train") is None


def test_a_job_of_a_killed_worker_is_given_out_again_and_then_failed(url: str, catalog: Catalog) -> None:
    job_id = catalog.enqueue("train", {}, max_attempts=2)
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", CLAIM_AND_DIE, url], stdout=subprocess.PIPE, check=False)
        assert killed.returncode == -9
        assert int(killed.stdout) == job_id
    assert catalog.claim("train") is None
    assert (catalog.job(job_id).status, catalog.job(job_id).error) == ("failed", "its worker died")


def test_a_job_on_another_machine_is_left_alone_while_it_is_heard_of(catalog: Catalog) -> None:
    job_id = catalog.enqueue("train", {})
    catalog.claim("train")
    elsewhere = '{"host": "elsewhere", "pid": 1, "started": 0}'
    change = sa.update(schema.jobs).where(schema.jobs.c.job_id == job_id)
    with catalog._db.write() as connection:
        connection.execute(change.values(process=elsewhere))
    assert catalog.claim("train") is None
    for call in (catalog.heartbeat, catalog.finish):
        with pytest.raises(Conflict, match="not this worker's"):
            call(job_id)
    with catalog._db.write() as connection:
        connection.execute(change.values(seen_at="2020-01-01T00:00:00.000000+00:00"))
    job = catalog.claim("train")
    assert job is not None
    assert job.n_attempts == 2


def test_an_unknown_job(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match="no job 5"):
        catalog.job(5)
