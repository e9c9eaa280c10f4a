"""Search in transcripts through each database's own full-text index."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.mysql import match as mysql_match
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.store.search import Term, mysql_word
from kikitori.store.tables import transcripts

sqlite_index = Table(
    "transcript_search",
    MetaData(),
    Column("rowid", Integer, primary_key=True),
    Column("transcript_search", String),
)
"""SQLite's index is a table, with a column named like itself to ask it by. The migration makes it."""

MAX_TESTED = 6_000
"""So many transcripts are rather tested one by one than looked up in the index of words."""
SAMPLE = 300
"""So many transcripts say how frequent words are."""

PLANNING = {
    # After some runs a plan is made for any words at all. It is the wrong one for most.
    "plan_cache_mode": "force_custom_plan",
    # Of these two, the start alone takes longer than a page.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # With less, it is forgotten which rows of a page of the table have the words, and all are tested.
    "work_mem": "32MB",
    # To test a text for words, it has to be unpacked: forty times as dear as other tests.
    "cpu_operator_cost": "0.1",
}
"""How PostgreSQL shall plan a search."""


async def prepare_search(connection: AsyncConnection) -> None:
    """For PostgreSQL, until the end of the transaction."""
    await connection.execute(select(*(func.set_config(name, value, True) for name, value in PLANNING.items())))


def may_test_each(dialect: str) -> bool:
    """Whether a transcript can be asked for its words without the index."""
    return dialect == "postgresql"


def stored_terms(dialect: str, terms: Sequence[str]) -> ColumnElement[object]:
    """``terms`` as the column ``transcripts.terms`` takes them."""
    match dialect:
        case "postgresql":
            return func.array_to_tsvector(cast(literal(list(terms), ARRAY(Text)), ARRAY(Text)))
        case "sqlite":
            return literal(" ".join(terms))
        case _:
            return literal(" ".join(map(mysql_word, terms)))


def index_of(dialect: str) -> tuple[FromClause, ColumnElement[int]]:
    """What is searched, and its column of the tasks' numbers."""
    if dialect == "sqlite":
        return sqlite_index, sqlite_index.c.rowid
    return transcripts, transcripts.c.task


def has_terms(dialect: str, terms: Sequence[Term]) -> ColumnElement[bool]:
    """All of ``terms`` are in the transcript."""
    match dialect:
        case "postgresql":
            wanted = " & ".join(f"'{term.text}'{':*' if term.is_prefix else ''}" for term in terms)
            return transcripts.c.terms.op("@@", is_comparison=True)(cast(literal(wanted), TSQUERY))
        case "sqlite":
            wanted = " ".join(f'"{term.text}"{"*" if term.is_prefix else ""}' for term in terms)
            return sqlite_index.c.transcript_search.op("MATCH", is_comparison=True)(wanted)
        case _:
            wanted = " ".join(f"+{mysql_word(term.text)}{'*' if term.is_prefix else ''}" for term in terms)
            return mysql_match(transcripts.c.terms, against=wanted).in_boolean_mode()
