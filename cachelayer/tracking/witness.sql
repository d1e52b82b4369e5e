-- cachelayer 3
-- The body of cachelayer_witness(), the trigger function of every table that a cached row is
-- made of. Its first line is its version; triggers.py puts the log's schema in for {schema}.
--
-- After each statement it works out which cached rows the statement has written, and asks
-- whether the statement says that its sender listens. Then it answers; otherwise it logs.
--
-- TG_ARGV: how a single row is looked at, then a key prefix and the column with the row's
-- primary key, for each cached model that has rows of this table in its own; and a stamp's prefix
-- (it begins with @) and its column, for each by whose values documents show rows of this table;
-- no column: for documents that may show any row.
--   row      by its JSON, which the answer carries as well
--   keys     by its JSON
--   columns  by its columns: a column of type json may hold what jsonb refuses
DECLARE
    -- In a larger statement no row is named: the answer would outgrow memory.
    most constant bigint := 1000000;
    -- Nor a stamp: there is one for all of them, which each document is made under as well.
    most_stamps constant bigint := 1000;
    -- A larger row is not worth its way: it is read again where it is needed.
    large constant int := 8192;
    -- A still larger one is not made into JSON at all: jsonb refuses texts that a table takes.
    huge constant int := 65536;
    by_json boolean := false;
    statement constant text := coalesce(current_query(), '');
    written bigint := 0;
    news jsonb[] := '{}';
    olds jsonb[] := '{}';
    ids text[];
    before text[];
    keys text := '';
    line text;
    epoch text;
    -- Only other comments may follow ours: a tracing library's, say. A literal that holds the
    -- same text is followed by its quote. A client with too few letters for the row or its keys
    -- would get an error in place of the answer.
    listens constant boolean := pg_client_encoding() IN ('UTF8', getdatabaseencoding())
        AND (right(statement, 14) = '/*cachelayer*/'
            OR right(statement, 2000)
                ~ '/[*]cachelayer[*]/([[:space:]]*/[*][^*]*[*]/)+[[:space:]]*$');
BEGIN
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' THEN
        SELECT count(*) INTO written FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT count(*) INTO written FROM old_rows;
    END IF;
    IF written = 0 AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    IF written = 1 AND TG_ARGV[0] <> 'columns' THEN
        IF TG_OP <> 'DELETE' THEN
            news := ARRAY(SELECT to_jsonb(r) FROM new_rows r WHERE pg_column_size(r) < huge);
        END IF;
        IF TG_OP <> 'INSERT' THEN
            olds := ARRAY(SELECT to_jsonb(r) FROM old_rows r WHERE pg_column_size(r) < huge);
        END IF;
        by_json := (news <> '{}' OR TG_OP = 'DELETE') AND (olds <> '{}' OR TG_OP = 'INSERT');
        IF TG_ARGV[0] = 'row' AND octet_length(news[1]::text) < large THEN
            line := news[1]::text;
        END IF;
    END IF;
    FOR i IN 1 .. TG_NARGS - 1 BY 2 LOOP
        IF TG_OP = 'TRUNCATE' OR written > most OR TG_ARGV[i + 1] = ''
            OR (written > most_stamps AND starts_with(regexp_replace(TG_ARGV[i], '^.*/', ''), '@'))
        THEN
            ids := '{*}';
        ELSIF by_json THEN
            ids := ARRAY[news[1] ->> TG_ARGV[i + 1]];
            IF TG_OP = 'DELETE' THEN
                ids := ARRAY[olds[1] ->> TG_ARGV[i + 1]];
            ELSIF TG_OP = 'UPDATE' AND ids[1] IS DISTINCT FROM olds[1] ->> TG_ARGV[i + 1] THEN
                ids := ids || (olds[1] ->> TG_ARGV[i + 1]);
            END IF;
        ELSE
            IF TG_OP <> 'DELETE' THEN
                EXECUTE format('SELECT array_agg(%I::text) FROM new_rows', TG_ARGV[i + 1]) INTO ids;
            END IF;
            IF TG_OP <> 'INSERT' THEN
                EXECUTE format('SELECT array_agg(%I::text) FROM old_rows', TG_ARGV[i + 1])
                INTO before;
                -- Both tables have the rows in the same order: where no key has changed, they
                -- are the same.
                ids := CASE WHEN TG_OP = 'DELETE' THEN before
                    WHEN ids IS DISTINCT FROM before THEN ids || before
                    ELSE ids END;
            END IF;
        END IF;
        IF NOT listens THEN
            INSERT INTO {schema}.cachelayer_repair (key)
            SELECT DISTINCT TG_ARGV[i] || ':' || id FROM unnest(ids) AS id WHERE id IS NOT NULL;
        ELSE
            keys := keys || ',' || to_json(TG_ARGV[i])::text || ':' || to_json(ids)::text;
        END IF;
    END LOOP;
    IF listens THEN
        -- Of a sequence, for that is never read through a snapshot: a transaction that began
        -- before a reconcile sees the reconcile's epoch.
        SELECT last_value::text INTO epoch FROM {schema}.cachelayer_epoch;
        RAISE INFO USING
            ERRCODE = 'CL001',
            MESSAGE = '{' || substr(keys, 2) || '}',
            DETAIL = coalesce(line, ''),
            HINT = concat_ws(',', pg_current_xact_id(), epoch,
                current_setting('transaction_isolation'), TG_OP, pg_trigger_depth(),
                current_setting('extra_float_digits'), current_setting('role')),
            SCHEMA = TG_TABLE_SCHEMA,
            TABLE = TG_TABLE_NAME;
    ELSE
        PERFORM pg_notify('cachelayer_repair', '');
    END IF;
    RETURN NULL;
END
