"""How alembic meets the database: on the connection it is handed, in that connection's transaction.

By hand, ``alembic revision --autogenerate -m ...`` works on the database of the home folder.
"""

from alembic import context
from sqlalchemy import Connection

from tunesmith import settings
from tunesmith.store.columns import Base
from tunesmith.store.database import database_url, make_engine
from tunesmith.store.models import Run  # noqa: F401  loading it fills the metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        # alembic does not expect it of SQLite, but with BEGIN IMMEDIATE its DDL is transactional.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


handed = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    with make_engine(database_url(settings.home()), writes=True, foreign_keys=False).begin() as own:
        run(own)
