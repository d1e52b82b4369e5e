"""Columns of every kind that Django has, and what they may hold; for ``test_row_json.py``."""

import datetime
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.contrib.postgres import fields as postgres
from django.core.files.storage import FileSystemStorage
from django.db import models
from django.db.models.functions import Upper
from hypothesis import strategies as st

UTC: Final = datetime.UTC


class Doubled(models.IntegerField):
    """Its Python value is not the column's."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else f"twice {value * 2}"


class Shouted(models.CharField):
    """Read through an expression of its own."""

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        return f"upper({sql})", params


class Hidden(models.TextField):
    """Read through another column expression, as encrypted columns are."""

    def get_col(self, alias: str, output_field: Any = None) -> Any:
        return Upper(super().get_col(alias, output_field))


class Unbounded(models.DecimalField):
    """Of any number of digits."""

    def db_type(self, connection: Any) -> str:
        return "numeric"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return value

    get_db_prep_save = get_db_prep_value


class Money(models.DecimalField):
    """A column of another type than Django's field takes it for."""

    def db_type(self, connection: Any) -> str:
        return "money"


class Stored(FileSystemStorage):
    def url(self, name: str | None) -> str:
        return f"https://files.example/{name}"


@dataclass(frozen=True)
class Kind:
    field: Callable[[], Any]
    values: st.SearchStrategy[Any]
    #: Whether the row in the notice is enough; if not, it is read again.
    is_exact: bool = True
    #: Values that only SQL can write.
    literals: tuple[str, ...] = ()


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
odd_texts = texts | st.sampled_from(
    ["", "NULL", '"', "\\", "{,}", "\x01\x1f\x7f\x85\u2028\ufeff", "\U0001f600\U0010ffff"]
)
floats = st.floats() | st.sampled_from(
    [-0.0, 0.0, math.inf, -math.inf, math.nan, 1e308, 5e-324, 2.0**53 + 2, 1e23, 0.1 + 0.2]
)
dates = st.dates() | st.sampled_from([datetime.date.min, datetime.date.max])
moments = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [
        datetime.datetime(1, 1, 1, tzinfo=UTC),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        # In Berlin the clock was 53 min 28 s ahead.
        datetime.datetime(1880, 1, 1, 12, tzinfo=UTC),
    ]
)
money = st.decimals(-(10**6), 10**6, places=2)
any_decimals = st.decimals(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [Decimal("1E+400"), Decimal("1E-400"), Decimal("0E-7"), Decimal("1." + "0" * 50)]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | odd_texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
durations = st.timedeltas() | st.sampled_from(
    [datetime.timedelta(0), datetime.timedelta(-1, 1), datetime.timedelta(400, 0, 1)]
)


def arrays(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(st.none() | of, max_size=3)


def ranges(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    from django.db.backends.postgresql.psycopg_any import Range

    ends = st.tuples(st.none() | of, st.none() | of)
    ordered = ends.map(lambda pair: pair if None in pair else tuple(sorted(pair)))
    return st.just(Range(empty=True)) | st.builds(
        lambda pair, bounds: Range(*pair, bounds), ordered, st.sampled_from(["[)", "(]", "[]"])
    )


def _numbers(bits: int) -> st.SearchStrategy[int]:
    most = 2 ** (bits - 1)
    return st.integers(-most, most - 1) | st.sampled_from([-most, most - 1, 0])


_array = postgres.ArrayField
KINDS: Final[dict[str, Kind]] = {
    "small integer": Kind(lambda: models.SmallIntegerField(null=True), _numbers(16)),
    "integer": Kind(lambda: models.IntegerField(null=True), _numbers(32)),
    "big integer": Kind(lambda: models.BigIntegerField(null=True), _numbers(64)),
    "positive": Kind(lambda: models.PositiveBigIntegerField(null=True), st.integers(0, 2**63 - 1)),
    "choice": Kind(
        lambda: models.IntegerField(choices=[(1, "one"), (2, "two")]), st.integers(0, 3)
    ),
    "boolean": Kind(lambda: models.BooleanField(null=True), st.none() | st.booleans()),
    "char": Kind(lambda: models.CharField(max_length=100, null=True), st.none() | odd_texts),
    "text": Kind(lambda: models.TextField(null=True), st.none() | odd_texts),
    "collated": Kind(lambda: models.TextField(db_collation="C"), odd_texts),
    "slug": Kind(lambda: models.SlugField(max_length=100), odd_texts),
    "url": Kind(lambda: models.URLField(max_length=100), odd_texts),
    "file": Kind(lambda: models.FileField(storage=Stored()), st.text("ab /%é.", max_size=20)),
    "image": Kind(lambda: models.ImageField(storage=Stored()), st.text("ab /%é.", max_size=20)),
    "uuid": Kind(lambda: models.UUIDField(null=True), st.none() | st.uuids()),
    "float": Kind(
        lambda: models.FloatField(null=True), st.none() | floats, literals=("'-0'", "'-Infinity'")
    ),
    "money": Kind(
        lambda: models.DecimalField(max_digits=9, decimal_places=2, null=True), money,
        literals=("'NaN'",),
    ),
    "decimal": Kind(
        lambda: Unbounded(max_digits=9000, decimal_places=4000), any_decimals,
        literals=("'NaN'", "'Infinity'", "'-Infinity'", "repeat('9', 5000)::numeric",
                  "('0.' || repeat('1', 5000))::numeric"),
    ),
    "date": Kind(
        lambda: models.DateField(null=True), st.none() | dates,
        literals=("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'10000-01-01'"),
    ),
    "time": Kind(
        lambda: models.TimeField(null=True), st.none() | st.times(), literals=("'24:00:00'",)
    ),
    "moment": Kind(
        lambda: models.DateTimeField(null=True), st.none() | moments,
        literals=("'infinity'", "'-infinity'", "'0044-03-15 12:00 BC'", "'10000-01-01 00:00Z'",
                  "'0001-01-01 00:30+00'", "'9999-12-31 23:30+00'", "'1850-01-01 12:00+00:53:28'",
                  # In Berlin it is half past two twice.
                  "'2026-10-25 00:30Z'", "'2026-10-25 01:30Z'"),
    ),
    "doubled": Kind(lambda: Doubled(null=True), st.none() | st.integers(-9, 9)),
    "shouted": Kind(lambda: Shouted(max_length=100), odd_texts, is_exact=False),
    "hidden": Kind(lambda: Hidden(), odd_texts, is_exact=False),
    "money type": Kind(
        lambda: Money(max_digits=9, decimal_places=2), money, is_exact=False
    ),
    "duration": Kind(
        lambda: models.DurationField(null=True), durations, is_exact=False,
        literals=("'1 year 2 months -3 days 04:05:06.789'", "'-1 month'"),
    ),
    "json": Kind(
        lambda: models.JSONField(null=True), json_values, is_exact=False,
        literals=("'null'", "'1e400'", "'-0.0'", "'12345678901234567890123.10'"),
    ),
    "binary": Kind(lambda: models.BinaryField(null=True), st.binary(max_size=50), is_exact=False),
    "inet": Kind(
        lambda: models.GenericIPAddressField(null=True),
        st.none() | st.ip_addresses().map(str), is_exact=False,
        literals=("'10.0.0.1/8'", "'::ffff:1.2.3.4'"),
    ),
    "array": Kind(lambda: _array(models.TextField(), null=True), arrays(odd_texts), is_exact=False),
    "sized array": Kind(
        lambda: _array(models.CharField(max_length=100), null=True), arrays(odd_texts),
        is_exact=False, literals=("'[2:3]={a,b}'",),
    ),
    "array of decimals": Kind(
        lambda: _array(models.DecimalField(max_digits=9, decimal_places=2), null=True),
        arrays(money), is_exact=False,
    ),
    "array of dates": Kind(
        lambda: _array(models.DateField(), null=True), arrays(dates), is_exact=False
    ),
    "array of moments": Kind(
        lambda: _array(models.DateTimeField(), null=True), arrays(moments), is_exact=False
    ),
    "array of floats": Kind(
        lambda: _array(models.FloatField(), null=True), arrays(floats), is_exact=False
    ),
    "array of arrays": Kind(
        lambda: _array(_array(models.IntegerField()), null=True),
        st.lists(st.tuples(*[st.none() | st.integers(-9, 9)] * 2).map(list), max_size=3),
        is_exact=False,
    ),
    "range": Kind(
        lambda: postgres.BigIntegerRangeField(null=True), ranges(st.integers(-99, 99)),
        is_exact=False,
    ),
    "range of dates": Kind(
        lambda: postgres.DateRangeField(null=True),
        ranges(st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1))), is_exact=False,
    ),
    "range of moments": Kind(
        lambda: postgres.DateTimeRangeField(null=True), ranges(moments), is_exact=False
    ),
    "hstore": Kind(
        lambda: postgres.HStoreField(null=True),
        st.dictionaries(texts, st.none() | odd_texts, max_size=3), is_exact=False,
    ),
}  # fmt: skip
#: A column of another type than Django's field would make, in a table that Django has not made.
LEGACY: Final[dict[str, tuple[str, Any, tuple[str, ...]]]] = {
    "citext": ("citext", models.TextField, ("'Ab'",)),
    "an enumeration": ("weekday", models.TextField, ("'monday'",)),
    "padded": ("char(8)", models.TextField, ("'a'",)),
    "a wall clock": ("timestamp", models.DateTimeField, ("'2026-01-02 03:04:05'",)),
    "a moment as text": ("timestamptz", models.TextField, ("'2026-01-02 03:04:05Z'",)),
    "json as text": ("jsonb", models.TextField, ("""'"a"'""", "'1'", "'{}'")),
    "bytes as text": ("bytea", models.TextField, ("'abc'",)),
    "a number as text": ("integer", models.TextField, ("1",)),
    "an integer as boolean": ("integer", models.BooleanField, ("1", "2")),
    "an integer as decimal": ("integer", models.DecimalField, ("1",)),
    "text as uuid": ("text", models.UUIDField, (f"'{uuid.UUID(int=11).hex.upper()}'",)),
    "real": ("real", models.FloatField, ("0.1", "16777217")),
    "numeric as float": ("numeric", models.FloatField, ("0.1", "1")),
    "a domain": ("percentage", models.IntegerField, ("5",)),
    "timetz": ("timetz", models.TimeField, ("'03:04:05+02'",)),
}
