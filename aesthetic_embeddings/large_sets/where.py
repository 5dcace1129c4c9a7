"""A filter on metadata, in SQL: `AESTHETIC_SCORE > 7 AND width >= 512`. DuckDB reads it, and can reach nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import AestheticError
from .places import needed


class Where:
    """For each row, whether the expression is true of it. Of a row that lacks a value it is not.

    Raises AestheticError for what is not one expression.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._duckdb = needed("duckdb")
        options = {"enable_external_access": "false", "lock_configuration": "true", "threads": "1"}
        self._connection = self._duckdb.connect(config=options)
        self._query = f"SELECT coalesce(({expression}\n), false) FROM pictures"
        try:
            count = len(self._duckdb.extract_statements(self._query))
        except self._duckdb.Error as error:
            raise self._wrong(error) from error
        if count != 1:
            raise self._wrong("it is more than one expression")

    def mentions(self, column: str) -> bool:
        return column.lower() in self.expression.lower()

    def __call__(self, rows: Any) -> list[bool]:
        """rows: a pyarrow table, or a list of mappings. Raises AestheticError for a column that none of them has."""
        rows = self._table(rows) if isinstance(rows, list) else rows
        self._connection.register("pictures", rows)
        try:
            found = [bool(row[0]) for row in self._connection.execute(self._query).fetchall()]
        except self._duckdb.Error as error:
            raise self._wrong(
                error, f" The metadata has: {', '.join(filter(None, rows.column_names)) or 'nothing'}."
            ) from error
        finally:
            self._connection.unregister("pictures")
        if len(found) != len(rows):
            raise self._wrong("it is more than one expression")
        return found

    def _table(self, rows: list[Mapping[str, Any]]) -> Any:
        pyarrow = needed("pyarrow")
        names = dict.fromkeys(name for row in rows for name in row if self.mentions(name))
        columns = {"": pyarrow.nulls(len(rows))}
        for name in names:
            values = [row.get(name) for row in rows]
            try:
                columns[name] = pyarrow.array(values)
            except pyarrow.ArrowException:  # some are numbers and some are text
                columns[name] = pyarrow.array([None if value is None else str(value) for value in values])
        return pyarrow.table(columns)

    def _wrong(self, why: object, more: str = "") -> AestheticError:
        reason = re.sub(r"\s*\n.*", "", str(why), flags=re.DOTALL)
        return AestheticError(f"The filter {self.expression!r} cannot be used: {reason}.{more}")
