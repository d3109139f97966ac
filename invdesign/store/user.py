"""How what users do is written."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, insert, select, update

from invdesign.candidate import Status
from invdesign.steps import UserEvent
from invdesign.store.schema import candidates, ending_row, evaluations, measurement_row, measurements

OPEN_AGAIN = {"status": int(Status.PENDING), "depth": 0, "failure": None, "gate": None, "finished": None}


def write_user_event(connection: Connection, user: UserEvent, event: int) -> None:
    """Measurements, and what counts no more since this event; within its transaction."""
    if user.measurements:
        first = 1 + (connection.scalar(select(func.max(measurements.c.id))) or 0)
        numbered = enumerate(user.measurements, first)
        rows = [measurement_row(item, number, event) for number, item in numbered]
        connection.execute(insert(measurements), rows)
    if user.taken_back:
        within = measurements.c.id.in_(list(user.taken_back))
        connection.execute(update(measurements).where(within).values(withdrawn=event))
    ended = [(ending.candidate, stages) for ending, stages in user.withdrawn]
    for id, stages in [*user.reopened, *ended]:
        no_more = (evaluations.c.candidate == id) & evaluations.c.stage.in_(list(stages))
        counted = evaluations.c.withdrawn.is_(None)
        connection.execute(update(evaluations).where(no_more, counted).values(withdrawn=event))
    changed = update(candidates).where(candidates.c.id == bindparam("at"))
    if user.reopened:
        connection.execute(changed, [{"at": id, **OPEN_AGAIN} for id, _ in user.reopened])
    if user.withdrawn:
        connection.execute(changed, [ending_row(ending) for ending, _ in user.withdrawn])
