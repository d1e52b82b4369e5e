"""Tables for which the database does what Django does elsewhere; ``KEPT_BY_POSTGRES`` is how."""

from typing import Final

from django.db import models


class Shelf(models.Model):
    """A key of text, and a count that a trigger on another table keeps."""

    code = models.CharField(max_length=40, primary_key=True)
    name = models.CharField(max_length=50, default="")
    parcels = models.IntegerField(default=0)


class Parcel(models.Model):
    """Not cached: its rows are counted on its shelf."""

    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)


class Reply(models.Model):
    """The database deletes it with its note, and empties its column with its shelf."""

    note = models.ForeignKey("bookshop.Note", models.DO_NOTHING, db_constraint=False)
    shelf = models.ForeignKey(Shelf, models.DO_NOTHING, null=True, db_constraint=False)
    text = models.TextField(default="")


class AReplyWhoseModelHasALongNameIndeed(models.Model):
    text = models.TextField(default="")


KEPT_BY_POSTGRES: Final = """
DO $$
BEGIN
    -- A lab that a test starts has this app, and none of its tables.
    IF to_regclass('bookshop_reply') IS NULL
        OR EXISTS (SELECT FROM pg_constraint WHERE conname = 'bookshop_reply_note') THEN
        RETURN;
    END IF;
    ALTER TABLE bookshop_reply
        ADD CONSTRAINT bookshop_reply_note FOREIGN KEY (note_id)
            REFERENCES bookshop_note ON DELETE CASCADE ON UPDATE CASCADE,
        ADD CONSTRAINT bookshop_reply_shelf FOREIGN KEY (shelf_id)
            REFERENCES bookshop_shelf ON DELETE SET NULL;
    CREATE FUNCTION bookshop_count() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            UPDATE bookshop_shelf SET parcels = parcels - 1 WHERE code = OLD.shelf_id;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            UPDATE bookshop_shelf SET parcels = parcels + 1 WHERE code = NEW.shelf_id;
        END IF;
        RETURN NULL;
    END $body$;
    CREATE TRIGGER bookshop_count AFTER INSERT OR UPDATE OR DELETE ON bookshop_parcel
        FOR EACH ROW EXECUTE FUNCTION bookshop_count();
END $$
"""
