"""A filter on metadata, in SQL: `AESTHETIC_SCORE > 7 AND width >= 512`. DuckDB runs it without access to files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import AestheticError, require


class Where:
    """A filter: tells for each row whether the expression is true. It is false if the row lacks a value.

    Raises AestheticError if the text is not exactly one expression.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._duckdb = require("duckdb", "cluster")
        options = {"enable_external_access": "false", "lock_configuration": "true", "threads": "1"}
        self._connection = self._duckdb.connect(config=options)
        self._query = f"SELECT coalesce(({expression}\n), false) FROM pictures"
        try:
            count = len(self._duckdb.extract_statements(self._query))
        except self._duckdb.Error as error:
            raise self._error(error) from error
        if count != 1:
            raise self._error("it is more than one expression")

    def mentions(self, column: str) -> bool:
        return column.lower() in self.expression.lower()

    def __call__(self, rows: Any) -> list[bool]:
        """Whether each row passes. Raises AestheticError for a column that no row has.

        rows: a pyarrow table, or a list of mappings.
        """
        rows = self._table(rows) if isinstance(rows, list) else rows
        self._connection.register("pictures", rows)
        try:
            matches = [bool(row[0]) for row in self._connection.execute(self._query).fetchall()]
        except self._duckdb.Error as error:
            raise self._error(
                error, f" The metadata has: {', '.join(filter(None, rows.column_names)) or 'nothing'}."
            ) from error
        finally:
            self._connection.unregister("pictures")
        if len(matches) != len(rows):
            raise self._error("it is more than one expression")
        return matches

    def _table(self, rows: list[Mapping[str, Any]]) -> Any:
        pyarrow = require("pyarrow", "cluster")
        names = dict.fromkeys(name for row in rows for name in row if self.mentions(name))
        columns = {"": pyarrow.nulls(len(rows))}
        for name in names:
            values = [row.get(name) for row in rows]
            try:
                columns[name] = pyarrow.array(values)
            except pyarrow.ArrowException:  # mixed types, such as numbers and text
                columns[name] = pyarrow.array([None if value is None else str(value) for value in values])
        return pyarrow.table(columns)

    def _error(self, reason: object, hint: str = "") -> AestheticError:
        text = re.sub(r"\s*\n.*", "", str(reason), flags=re.DOTALL)
        return AestheticError(f"The filter {self.expression!r} cannot be used: {text}.{hint}")
