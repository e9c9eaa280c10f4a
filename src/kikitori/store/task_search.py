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
)
from sqlalchemy.dialects.mysql import match as mysql_match
from sqlalchemy.dialects.postgresql import TSQUERY

from kikitori.store.search import Term, mysql_word
from kikitori.store.tables import transcripts

sqlite_index = Table(
    "transcript_search",
    MetaData(),
    Column("rowid", Integer, primary_key=True),
    Column("transcript_search", String),
)
"""SQLite's index is a table, with a column named like itself to ask it by. The migration makes it."""


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
