-- Functions that views and the save use. Applied anew whenever this text changes. They read no
-- table and name nothing outside pg_catalog, so that a reader of the views needs no right on
-- the private schema.

-- ---------------------------------------------------------------- casts that never fail

CREATE OR REPLACE FUNCTION psync.as_numeric(t text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN t ~ '^\s*[-+]?(\d{1,60}(\.\d{0,60})?|\.\d{1,60})([eE][-+]?\d{1,2})?\s*$'
              THEN t::numeric END
$$;

CREATE OR REPLACE FUNCTION psync.as_bigint(t text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN t ~ '^\s*[-+]?\d{1,18}\s*$' THEN t::bigint END
$$;

CREATE OR REPLACE FUNCTION psync.as_bool(t text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE lower(t) WHEN 'true' THEN true WHEN 'false' THEN false END
$$;

-- Unix seconds.
CREATE OR REPLACE FUNCTION psync.as_unix(t text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN t ~ '^\d{1,11}$' THEN to_timestamp(t::bigint) END
$$;

-- ISO 8601, or Unix milliseconds. What has no zone is UTC.
CREATE OR REPLACE FUNCTION psync.as_time(t text) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET timezone = 'UTC' AS $$
BEGIN
  IF t ~ '^\d{10,14}$' THEN
    RETURN to_timestamp(t::bigint / 1000.0);
  ELSIF t ~ '^\d{4}-\d\d-\d\d' THEN
    RETURN t::timestamptz;
  END IF;
  RETURN NULL;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;

-- The id of a reference that may be expanded.
CREATE OR REPLACE FUNCTION psync.ref_id(v jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE jsonb_typeof(v) WHEN 'string' THEN v #>> '{}' WHEN 'object' THEN v ->> 'id' END
$$;

-- For people: a moment in a zone, which it names.
CREATE OR REPLACE FUNCTION psync.local_text(at timestamptz, tz text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT to_char(at AT TIME ZONE tz, 'YYYY-MM-DD HH24:MI:SS ') || tz
$$;

-- ---------------------------------------------------------------- one writer a root

-- Held to the end of the transaction by whoever works out what derives from these roots. Two
-- that bring a customer and its subscription side by side do not see each other's rows: the
-- second waits here, and reads what the first left. Taken in one order; a change that touches
-- very many locks the connection's roots as a whole, and so does any of what many share (a price,
-- a coupon: core/save_roots.c), since a subscription that comes to it meanwhile cannot be seen.
CREATE OR REPLACE FUNCTION psync.lock_roots(connection_id bigint, record_ids text[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  key bigint;
BEGIN
  IF cardinality($2) > 1000 THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('roots', $1));
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('roots', $1));
  FOR key IN SELECT DISTINCT hashtextextended('root ' || id, $1) FROM unnest($2) AS id ORDER BY 1
  LOOP
    PERFORM pg_advisory_xact_lock(key);
  END LOOP;
END $$;

-- ---------------------------------------------------------------- the schedule's clock

-- What the schedule takes for now. Tests set the clock by psync.test_now.
CREATE OR REPLACE FUNCTION psync.schedule_now() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(nullif(current_setting('psync.test_now', true), '')::timestamptz, now())
$$;

-- The instant of a local time of day; the first valid one when the clock skips it. Of a
-- doubled hour it is the second.
CREATE OR REPLACE FUNCTION psync.local_instant(day date, at time, tz text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN found AT TIME ZONE tz = wall THEN found ELSE (
    SELECT min(x) FROM generate_series(found - ((found AT TIME ZONE tz) - wall), found,
      interval '1 minute') x
    WHERE (x AT TIME ZONE tz) - (x AT TIME ZONE 'UTC')
      = (found AT TIME ZONE tz) - (found AT TIME ZONE 'UTC')) END
  FROM (SELECT day + at AS wall, (day + at) AT TIME ZONE tz AS found) v
$$;

-- ---------------------------------------------------------------- business hours

-- Minutes between two instants that lie inside business hours such as
-- "Mon-Fri 09:00-18:00, Sat 10:00-14:00" of a time zone. Each local day's hours become
-- instants of their own, so days of 23 and 25 hours count right. Hours that cannot be read
-- count as always open. At most the last 366 days are looked at.
CREATE OR REPLACE FUNCTION psync.business_minutes(from_at timestamptz, to_at timestamptz,
                                                  tz text, hours text)
RETURNS double precision LANGUAGE sql STABLE PARALLEL SAFE AS $$
  WITH part AS (
    SELECT array_position(ARRAY['mon','tue','wed','thu','fri','sat','sun'], lower(m[1])) AS first,
           array_position(ARRAY['mon','tue','wed','thu','fri','sat','sun'],
                          lower(coalesce(m[2], m[1]))) AS last,
           make_interval(hours => m[3]::int, mins => m[4]::int) AS opens,
           make_interval(hours => m[5]::int, mins => m[6]::int)
             + CASE WHEN m[5] || m[6] <= m[3] || m[4] THEN interval '1 day' ELSE interval '0' END
             AS closes
    FROM regexp_matches(coalesce(hours, ''),
      '([A-Za-z]{3})(?:-([A-Za-z]{3}))?\s+([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)',
      'g') m
  ), opening AS (
    SELECT range_agg(tstzrange((d + opens) AT TIME ZONE tz, (d + closes) AT TIME ZONE tz)) AS r
    FROM part, generate_series(
      greatest((from_at AT TIME ZONE tz)::date - 1, (to_at AT TIME ZONE tz)::date - 366)::timestamp,
      (to_at AT TIME ZONE tz)::date::timestamp, interval '1 day') d
    WHERE CASE WHEN first <= last THEN extract(isodow FROM d) BETWEEN first AND last
               ELSE extract(isodow FROM d) >= first OR extract(isodow FROM d) <= last END
  )
  SELECT CASE
    WHEN from_at IS NULL OR to_at IS NULL THEN NULL
    WHEN from_at >= to_at THEN 0
    WHEN NOT EXISTS (SELECT FROM part) THEN extract(epoch FROM to_at - from_at)::float8 / 60
    ELSE coalesce((
      SELECT sum(extract(epoch FROM upper(x) - lower(x)))::float8 / 60
      FROM opening, unnest(opening.r * tstzmultirange(tstzrange(from_at, to_at))) x), 0)
    END
$$;
COMMENT ON FUNCTION psync.business_minutes(timestamptz, timestamptz, text, text) IS
  'Minutes between two instants inside the business hours of a time zone.';
