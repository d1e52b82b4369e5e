"""Which tables a statement names."""

import pytest

from cachelayer.representation import declared_reads


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ('SELECT "a"."id" FROM "a" JOIN b ON b.a_id = "a"."id"', {"a", "b"}),
        ("SELECT extract(epoch FROM created_at) * 2 FROM a ORDER BY extract(year from b)", {"a"}),
        ("SELECT substring(name FROM 2 FOR 3), trim(BOTH 'x' FROM name) FROM a", {"a"}),
        ("SELECT overlay(name PLACING 'x' FROM 2) FROM a WHERE b IS NOT DISTINCT FROM c", {"a"}),
        ("SELECT extract(year FROM (SELECT max(day) FROM b)) FROM a", {"a", "b"}),
        ("SELECT trim((SELECT name FROM b)) FROM a", {"a", "b"}),
        ("SELECT DISTINCT id FROM a", {"a"}),
    ],
)
def test_from_names_tables_but_within_some_functions(sql, tables):
    assert declared_reads.tables(sql) == tables
