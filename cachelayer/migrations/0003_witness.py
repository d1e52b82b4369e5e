"""The database as the witness: an epoch, and triggers from ``migrate`` instead of pgtrigger.

This migration drops the triggers of the first release and keeps their definitions, so that the
reverse migration restores them. ``migrate`` installs this release's triggers after the migrations.
"""

from django.db import migrations

# A random start, because a Redis from another database must not have the epoch of this one.
_EPOCH = """
DO $$
BEGIN
    EXECUTE format('CREATE SEQUENCE cachelayer_epoch START %s', 1 + floor(random() * 1e15)::bigint);
    PERFORM nextval('cachelayer_epoch');
END $$
"""

_REMOVE_OLD = r"""
CREATE TABLE cachelayer_former_trigger (
    name text PRIMARY KEY, function text NOT NULL, definition text NOT NULL
);
DO $$
DECLARE
    old record;
BEGIN
    FOR old IN
        SELECT tgname, tgrelid::regclass AS relation, tgfoid::regprocedure AS function,
            pg_get_functiondef(tgfoid) AS body, pg_get_triggerdef(pg_trigger.oid) AS definition
        FROM pg_trigger WHERE tgname LIKE 'pgtrigger\_cachelayer\_%' AND NOT tgisinternal
            AND tgparentid = 0
    LOOP
        INSERT INTO cachelayer_former_trigger VALUES (old.tgname, old.body, old.definition)
        ON CONFLICT DO NOTHING;
        EXECUTE format('DROP TRIGGER %I ON %s', old.tgname, old.relation);
        EXECUTE format('DROP FUNCTION IF EXISTS %s', old.function);
    END LOOP;
END $$;
"""

_PUT_BACK = """
DROP FUNCTION IF EXISTS cachelayer_witness CASCADE;
DO $$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT * FROM cachelayer_former_trigger LOOP
        EXECUTE old.function;
        EXECUTE old.definition;
    END LOOP;
END $$;
DROP TABLE cachelayer_former_trigger;
"""


class Migration(migrations.Migration):
    dependencies = [("cachelayer", "0002_cache_page")]

    operations = [
        migrations.AlterModelOptions("repair", {"default_permissions": (), "managed": False}),
        migrations.AlterModelOptions("outage", {"default_permissions": (), "managed": False}),
        migrations.RunSQL(_EPOCH, "DROP SEQUENCE cachelayer_epoch"),
        migrations.RunSQL(_REMOVE_OLD, _PUT_BACK),
    ]
