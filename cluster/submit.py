"""Runs `seedquake` as a job of the cluster that this is on, and follows it; its exit status is the run's.

For `ray submit cluster.yaml cluster/submit.py -- robustness robustness_demo`: what that command starts itself ends with
the connection, but a job goes on.
"""

import asyncio
import os
import shlex
import sys

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

DASHBOARD = "http://127.0.0.1:8265"


async def follow(client: JobSubmissionClient, job: str) -> None:
    """Print what the job prints, until it ends."""
    async for text in client.tail_job_logs(job):
        print(text, end="", flush=True)  # noqa: T201


def status(details: JobDetails) -> int:
    """Return the exit status of a job that ended: the command's own where it came to one."""
    if details.driver_exit_code is not None:
        return details.driver_exit_code
    return int(details.status != JobStatus.SUCCEEDED)


def main() -> None:
    """Submit the words of the command line to `seedquake`."""
    client = JobSubmissionClient(os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD)
    # Ray hands an entry point to a shell, which is to read each word as it stands.
    job = client.submit_job(entrypoint=shlex.join(["seedquake", *sys.argv[1:]]))
    print(f"job {job} goes on without this terminal: ray job logs --follow {job}, ray job stop {job}")  # noqa: T201
    asyncio.run(follow(client, job))
    sys.exit(status(client.get_job_info(job)))


if __name__ == "__main__":
    main()
