-- A job that waits, runs or failed may name its conversation without being bound to it: the conversation may be made later, by somebody else.
ALTER TABLE job ADD COLUMN conversation_name text GENERATED ALWAYS AS (nullif(input ->> 'conversation_id', '')) STORED;

CREATE INDEX job_named ON job (tenant_id, conversation_name) WHERE conversation_id IS NULL;

-- With a conversation go the jobs that name it, by whichever way it is deleted: one that still waits would make it again.
CREATE FUNCTION malha_forget_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    DELETE FROM job WHERE tenant_id = OLD.tenant_id AND conversation_id IS NULL AND conversation_name = OLD.external_id;
    RETURN OLD;
END
$$;

CREATE TRIGGER forget_jobs BEFORE DELETE ON conversation FOR EACH ROW WHEN (OLD.external_id IS NOT NULL) EXECUTE FUNCTION malha_forget_jobs();

-- Drops the oldest day of events that has no row left; true: there was one, and there may be more. Days are looked at through `event`: under
-- forced row-level security a partition without a policy of its own always seems empty. What is still written to such a day later, by
-- a call that lasts for days, goes to the default partition. Locks are waited for shortly: whoever writes waits behind them.
CREATE FUNCTION malha_drop_event_day() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    partition text;
    used text;
    found boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('malha.ensure_event_partitions')) THEN
        RETURN false;
    END IF;
    FOR partition IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.event'::regclass AND c.relname ~ '^event_[0-9]{8}$' ORDER BY c.relname LOOP
        day := to_date(right(partition, 8), 'YYYYMMDD');
        EXIT WHEN day >= today - 1;
        used := format('SELECT EXISTS (SELECT FROM public.event WHERE session_id >= %L AND session_id < %L)',
            malha_uuid7_floor(day::timestamp AT TIME ZONE 'UTC'), malha_uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
        EXECUTE used INTO found;
        CONTINUE WHEN found;
        EXECUTE format('LOCK TABLE public.%I IN SHARE ROW EXCLUSIVE MODE', partition);
        EXECUTE used INTO found;
        CONTINUE WHEN found;
        EXECUTE format('DROP TABLE public.%I', partition);
        RETURN true;
    END LOOP;
    RETURN false;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN
        RETURN false;
END
$$;

REVOKE EXECUTE ON FUNCTION malha_forget_jobs(), malha_drop_event_day() FROM PUBLIC;

GRANT EXECUTE ON FUNCTION malha_drop_event_day() TO malha_app;
