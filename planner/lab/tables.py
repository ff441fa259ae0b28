"""The table of a sweep as files for other tools."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, get_args

from ...errors import TechniqueMissingError
from .result import Row

if TYPE_CHECKING:
    from collections.abc import Sequence


def as_csv(rows: Sequence[Row]) -> bytes:
    """Return rows as CSV; what is not known is an empty cell."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(Row.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return file.getvalue().encode()


def as_parquet(rows: Sequence[Row]) -> bytes:
    """Return rows as Parquet, whose columns keep their types, also where nothing in them is known.

    Raises TechniqueMissingError without pyarrow.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        msg = "Parquet needs pyarrow: pip install 'autotune-diffusers[lab]', or take .csv."
        raise TechniqueMissingError(msg) from error
    types: dict[Any, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    kinds = {name: (*get_args(field.annotation), field.annotation)[0] for name, field in Row.model_fields.items()}
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([row.model_dump() for row in rows], schema=schema), file)
    return file.getvalue()
