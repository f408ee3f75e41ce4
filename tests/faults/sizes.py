"""Which trials belong to which size of `make faults`, over all runs. Asked by `__main__` and by the small size's test."""

from tests.faults import clock_runs, database_runs, file_runs, host_runs, runs, slow_runs, version_runs
from tests.faults.runs import Trial

DATABASES = ("sqlite", "postgres")


def ordinary(database: str) -> list[Trial]:
    """Every trial of the ordinary size on one database."""
    modules = (host_runs, file_runs, database_runs, slow_runs, clock_runs, version_runs)
    others = [one for module in modules for one in module.ordinary(database)]
    return runs.ordinary() + others


def small(database: str) -> list[Trial]:
    """What `make test` plays on one database: over both, every failpoint once, and a few of the others."""
    others = [
        one for module in (host_runs, file_runs, slow_runs, clock_runs) for one in module.small(database)
    ]
    return runs.small(DATABASES.index(database)) + others
