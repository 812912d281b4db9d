-- The private schema. PostgreSQL is the record, the providers are the truth, Redis is an index
-- of work still to do. Steps are forward-only: a later step never edits this file.

CREATE SCHEMA IF NOT EXISTS psync;

-- ---------------------------------------------------------------- workspaces and connections

CREATE TABLE psync.workspace (
  workspace_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name           text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  tz             text NOT NULL DEFAULT 'UTC',
  business_hours text NOT NULL DEFAULT 'Mon-Fri 09:00-18:00',
  nightly_at     time NOT NULL DEFAULT '03:00',
  currency       text CHECK (currency ~ '^[a-z]{3}$'),
  plans          text[],
  owners         text[],            -- NULL: every owner e-mail is accepted
  default_owner  text,
  settings       jsonb NOT NULL DEFAULT '{}', -- match_personal_emails, billing_signal_only, mrr policy
  created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE psync.connection (
  connection_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id    bigint NOT NULL REFERENCES psync.workspace ON DELETE CASCADE,
  provider        text NOT NULL,
  mode            text NOT NULL DEFAULT 'live' CHECK (mode IN ('live', 'test')),
  account_id      text NOT NULL DEFAULT '',
  account_name    text NOT NULL DEFAULT '',
  account         jsonb NOT NULL DEFAULT '{}', -- time zone, ui domain, currency, as the provider said
  shard           int NOT NULL DEFAULT 0,
  state           text NOT NULL DEFAULT 'disconnected'
                  CHECK (state IN ('connected', 'reauthorize', 'disconnected')),
  state_code      text NOT NULL DEFAULT '',    -- error type that caused it
  state_reason    text NOT NULL DEFAULT 'not connected yet',
  state_since     timestamptz NOT NULL DEFAULT now(),
  connected_by    text NOT NULL DEFAULT '',
  paused_at       timestamptz,
  paused_by       text,
  scope_kind      text CHECK (scope_kind IN ('list', 'stage', 'pipeline')),
  scope_id        text,
  scope_name      text,
  scope_size      bigint,                      -- what the provider says it holds
  objects         text[],                      -- mirrored object types, NULL = the defaults
  settings        jsonb NOT NULL DEFAULT '{}',
  throttled_until timestamptz,
  throttled_why   text,
  -- the two clocks and what the probe knows
  watermark_at         timestamptz,            -- changes up to here are in the mirror
  last_incremental_at  timestamptz,            -- the webhook channel was last known good
  last_catch_up_at     timestamptz,
  last_delivery_at     timestamptz,            -- last verified delivery for this connection
  channel_state        text NOT NULL DEFAULT 'never'
                       CHECK (channel_state IN ('fresh', 'quiet', 'stale', 'unknown', 'never')),
  probe_missed         bigint NOT NULL DEFAULT 0,
  probed_at            timestamptz,
  last_full_success_at timestamptz,
  next_full_at         timestamptz,
  version         bigint NOT NULL DEFAULT 1,   -- raised by every change of what a worker caches
  created_at      timestamptz NOT NULL DEFAULT now(),
  UNIQUE (workspace_id, provider, mode)
);
CREATE INDEX connection_account ON psync.connection (provider, account_id);

CREATE TABLE psync.credential (
  connection_id    bigint PRIMARY KEY REFERENCES psync.connection ON DELETE CASCADE,
  kind             text NOT NULL CHECK (kind IN ('token', 'oauth')),
  access_token     bytea,           -- sealed
  refresh_token    bytea,           -- sealed
  webhook_secrets  bytea[] NOT NULL DEFAULT '{}', -- sealed, newest first
  scopes           text[],
  expires_at       timestamptz,     -- of the access token, NULL = never
  refreshing_until timestamptz,     -- single-flight lease
  version          bigint NOT NULL DEFAULT 1,
  updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE psync.oauth_state (    -- the nonce of a walk in progress
  nonce_hash    bytea PRIMARY KEY,
  connection_id bigint NOT NULL REFERENCES psync.connection ON DELETE CASCADE,
  redirect_uri  text NOT NULL,
  actor         text NOT NULL DEFAULT '',
  expires_at    timestamptz NOT NULL
);

CREATE TABLE psync.mapping (
  connection_id bigint NOT NULL REFERENCES psync.connection ON DELETE CASCADE,
  version       int NOT NULL,
  fields        jsonb NOT NULL,     -- [{"field","source","type","convert"}]
  note          text NOT NULL DEFAULT '',
  created_by    text NOT NULL DEFAULT '',
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (connection_id, version)   -- the highest is in force
);

-- ---------------------------------------------------------------- the mirror

CREATE SEQUENCE psync.fetch_no;     -- drawn before each request; a row is replaced only by a higher one

-- Wide: what the provider said. Written only when its hash differs.
CREATE TABLE psync.record (
  connection_id bigint NOT NULL,
  object_type   text NOT NULL,
  record_id     text NOT NULL,
  raw           jsonb NOT NULL,
  parent_id     text,               -- subscription, invoice: its customer; contact: its company
  created_at    timestamptz,        -- at the provider
  updated_at    timestamptz,        -- at the provider
  written_at    timestamptz NOT NULL DEFAULT now(),
  deleted_at    timestamptz,
  merged_into   text,
  in_scope      boolean NOT NULL DEFAULT true,
  PRIMARY KEY (connection_id, object_type, record_id)
);
ALTER TABLE psync.record ALTER COLUMN raw SET COMPRESSION lz4;
CREATE INDEX record_parent ON psync.record (connection_id, object_type, parent_id)
  WHERE parent_id IS NOT NULL;

-- Narrow: bumped by every fetch (HOT), so that order and completeness never need the wide row.
CREATE TABLE psync.record_seen (
  connection_id bigint NOT NULL,
  object_type   text NOT NULL,
  record_id     text NOT NULL,
  hash          bytea,              -- of the last raw; NULL = gone, or never read
  fetch_no      bigint NOT NULL,
  fetched_at    timestamptz NOT NULL DEFAULT now(),
  run_id        bigint,             -- last full run that saw it
  state         text NOT NULL DEFAULT 'in_sync', -- in_sync excluded failing unmatched ambiguous archived merged
  reason_code   text NOT NULL DEFAULT '',
  fail_count    int NOT NULL DEFAULT 0,
  PRIMARY KEY (connection_id, object_type, record_id)
) WITH (fillfactor = 50);
CREATE INDEX record_seen_unwell ON psync.record_seen (connection_id, state, object_type)
  WHERE state NOT IN ('in_sync', 'archived');

CREATE TABLE psync.customer (
  customer_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES psync.workspace ON DELETE CASCADE,
  fields       jsonb NOT NULL DEFAULT '{}',   -- flat: field name -> value
  archived_at  timestamptz,
  archived_why text,
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX customer_workspace ON psync.customer (workspace_id);
CREATE INDEX customer_domain ON psync.customer (workspace_id, lower(fields ->> 'domain'));

-- Which root record feeds which customer, and what it last wrote there.
CREATE TABLE psync.record_link (
  connection_id   bigint NOT NULL,
  object_type     text NOT NULL,
  record_id       text NOT NULL,
  customer_id     bigint NOT NULL REFERENCES psync.customer ON DELETE CASCADE,
  how             text NOT NULL CHECK (how IN ('source', 'hand', 'id', 'domain')),
  mapping_version int NOT NULL DEFAULT 0,
  applied         jsonb NOT NULL DEFAULT '{}', -- the mapped values last written: customer.fields @> applied
  notes           jsonb,                       -- why a derived value is what it is
  linked_by       text NOT NULL DEFAULT '',
  linked_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (connection_id, object_type, record_id)
) WITH (fillfactor = 80);
CREATE INDEX record_link_customer ON psync.record_link (customer_id);

CREATE TABLE psync.field_provenance (
  customer_id       bigint NOT NULL REFERENCES psync.customer ON DELETE CASCADE,
  field             text NOT NULL,
  connection_id     bigint NOT NULL,
  object_type       text NOT NULL,
  record_id         text NOT NULL,
  source_property   text NOT NULL,
  mapping_version   int NOT NULL,
  source_updated_at timestamptz,
  written_at        timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (customer_id, field, connection_id)
);

-- Members of the mirrored scope as last read (HubSpot list), so that a webhook on a company
-- outside is answered without a call.
CREATE TABLE psync.scope_member (
  connection_id bigint NOT NULL REFERENCES psync.connection ON DELETE CASCADE,
  record_id     text NOT NULL,
  run_id        bigint,
  since         timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (connection_id, record_id)
);

-- ---------------------------------------------------------------- runs and schedule

CREATE TABLE psync.run (
  run_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  connection_id bigint NOT NULL REFERENCES psync.connection ON DELETE CASCADE,
  workspace_id  bigint NOT NULL,
  kind          text NOT NULL CHECK (kind IN ('full', 'incremental', 'bulk')),
  trigger       text NOT NULL,
  requested_by  text NOT NULL DEFAULT '',
  lane          text NOT NULL DEFAULT 'run_now',
  status        text NOT NULL DEFAULT 'queued'
                CHECK (status IN ('queued', 'running', 'succeeded', 'partial', 'failed', 'cancelled')),
  error_code    text NOT NULL DEFAULT '',
  error_message text NOT NULL DEFAULT '',
  first_fetch_no bigint,             -- absent records are those below it, unseen by this run
  expected      bigint,              -- records, NULL = unknown
  api_calls     bigint NOT NULL DEFAULT 0,
  throttled_ms  bigint NOT NULL DEFAULT 0,
  archived      bigint NOT NULL DEFAULT 0,
  swept         boolean NOT NULL DEFAULT false, -- the unseen were asked for once more
  objects       jsonb NOT NULL DEFAULT '{}', -- counts per object type, filled when it ends
  queued_at     timestamptz NOT NULL DEFAULT now(),
  started_at    timestamptz,
  progress_at   timestamptz,
  finished_at   timestamptz,
  cancel_by     text,
  stalls        int NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX run_one_live_full ON psync.run (connection_id)
  WHERE kind = 'full' AND status IN ('queued', 'running');
CREATE INDEX run_connection ON psync.run (connection_id, run_id DESC);

CREATE TABLE psync.run_chunk (
  run_id       bigint NOT NULL REFERENCES psync.run ON DELETE CASCADE,
  chunk_no     int NOT NULL,
  object_type  text NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('scope', 'ids', 'range', 'related', 'sweep')),
  ids          text[],               -- ids: what to read; related: whose
  parents      text[],               -- ids of related records: to whom each belongs
  range_from   bigint,               -- range: created, unix seconds; NULL = open
  range_to     bigint,
  cursor       text,                 -- range, scope: where to go on
  status       text NOT NULL DEFAULT 'waiting'
               CHECK (status IN ('waiting', 'queued', 'done', 'failed', 'cancelled')),
  claim_no     bigint NOT NULL DEFAULT 0,
  attempts     int NOT NULL DEFAULT 0,
  pages        int NOT NULL DEFAULT 0,
  api_calls    int NOT NULL DEFAULT 0,
  seen         bigint NOT NULL DEFAULT 0,
  created      bigint NOT NULL DEFAULT 0,
  updated      bigint NOT NULL DEFAULT 0,
  unchanged    bigint NOT NULL DEFAULT 0,
  skipped      bigint NOT NULL DEFAULT 0,
  failed       bigint NOT NULL DEFAULT 0,
  error_code   text NOT NULL DEFAULT '',
  updated_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run_id, chunk_no)
);
CREATE INDEX run_chunk_open ON psync.run_chunk (run_id, status) WHERE status IN ('waiting', 'queued');

CREATE TABLE psync.occurrence (      -- a due instant fires once, whoever sees it first
  connection_id bigint NOT NULL REFERENCES psync.connection ON DELETE CASCADE,
  kind          text NOT NULL,       -- nightly, catch-up
  due_at        timestamptz NOT NULL,
  run_id        bigint,
  fired_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (connection_id, kind, due_at)
);

-- ---------------------------------------------------------------- the log

CREATE SEQUENCE psync.attempt_seq;   -- low 20 bits of attempt_id
-- Time-ordered, so that an id alone finds its partition.
CREATE FUNCTION psync.next_attempt_id(at timestamptz DEFAULT clock_timestamp()) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
  SELECT ((extract(epoch FROM at) * 1000)::bigint << 20) | (nextval('psync.attempt_seq') & 1048575)
$$;
CREATE FUNCTION psync.attempt_time(id bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$ SELECT to_timestamp((id >> 20) / 1000.0) $$;
CREATE FUNCTION psync.attempt_floor(at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT (extract(epoch FROM at) * 1000)::bigint << 20 $$;

-- One attempt = one try at one unit. A run's chunk: one row with counts (record_id NULL), plus
-- one for each record that did not succeed.
CREATE TABLE psync.attempt (
  attempt_id    bigint NOT NULL PRIMARY KEY,
  connection_id bigint NOT NULL,
  run_id        bigint,
  kind          text NOT NULL,       -- record, chunk, check
  trigger       text NOT NULL,
  actor         text NOT NULL DEFAULT '',
  object_type   text NOT NULL DEFAULT '',
  record_id     text,
  customer_id   bigint,
  attempt_no    int NOT NULL DEFAULT 1,
  status        text NOT NULL CHECK (status IN
                ('succeeded', 'partial', 'failed', 'retrying', 'skipped', 'cancelled', 'interrupted')),
  error_code    text NOT NULL DEFAULT '',
  error_message text NOT NULL DEFAULT '',
  error_field   text NOT NULL DEFAULT '',
  error_count   int NOT NULL DEFAULT 0,
  seen          int NOT NULL DEFAULT 0,
  changed       int NOT NULL DEFAULT 0,
  http_status   int,
  provider_request_id text NOT NULL DEFAULT '',
  endpoint      text NOT NULL DEFAULT '',
  fetch_no      bigint,
  events        int NOT NULL DEFAULT 1, -- deliveries this try stands for
  queue_wait_ms int NOT NULL DEFAULT 0,
  duration_ms   int NOT NULL DEFAULT 0,
  lag_ms        bigint,              -- provider's event to commit
  started_at    timestamptz NOT NULL,
  finished_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  next_retry_at timestamptz,
  retry_of      bigint,
  resolved_by   bigint,              -- the later try at the same unit that succeeded
  worker        text NOT NULL DEFAULT ''
) PARTITION BY RANGE (attempt_id);
CREATE INDEX attempt_connection ON psync.attempt (connection_id, attempt_id DESC);
CREATE INDEX attempt_record ON psync.attempt (connection_id, object_type, record_id, attempt_id DESC)
  WHERE record_id IS NOT NULL;
CREATE INDEX attempt_error ON psync.attempt (connection_id, attempt_id DESC)
  WHERE status IN ('failed', 'partial', 'retrying');
CREATE INDEX attempt_run ON psync.attempt (run_id, attempt_id DESC) WHERE run_id IS NOT NULL;

CREATE TABLE psync.attempt_body (
  attempt_id  bigint NOT NULL PRIMARY KEY,
  method      text NOT NULL DEFAULT '',
  url         text NOT NULL DEFAULT '',
  status      int,
  headers     text NOT NULL DEFAULT '',
  body        text NOT NULL DEFAULT '',
  truncated   boolean NOT NULL DEFAULT false,
  redactions  int NOT NULL DEFAULT 0
) PARTITION BY RANGE (attempt_id);

CREATE TABLE psync.webhook_event (
  event_no      bigint NOT NULL PRIMARY KEY, -- as attempt_id: time-ordered
  received_at   timestamptz NOT NULL,
  provider      text NOT NULL,
  connection_id bigint,
  verdict       text NOT NULL,       -- accepted, duplicate_event, wh_signature_invalid, ...
  event_id      text NOT NULL DEFAULT '',
  event_type    text NOT NULL DEFAULT '',
  object_type   text NOT NULL DEFAULT '',
  record_id     text NOT NULL DEFAULT '',
  lag_ms        bigint,
  peer          text NOT NULL DEFAULT ''
) PARTITION BY RANGE (event_no);
CREATE INDEX webhook_event_connection ON psync.webhook_event (connection_id, event_no DESC);

CREATE TABLE psync.audit (
  audit_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at           timestamptz NOT NULL DEFAULT clock_timestamp(),
  workspace_id bigint,
  connection_id bigint,
  actor        text NOT NULL,
  actor_kind   text NOT NULL DEFAULT 'cli',  -- cli, page, api, system
  action       text NOT NULL,
  target       text NOT NULL DEFAULT '',
  detail       jsonb NOT NULL DEFAULT '{}',
  reason       text NOT NULL DEFAULT ''
);

CREATE TABLE psync.gauge_sample (
  at       timestamptz NOT NULL,
  name     text NOT NULL,
  provider text NOT NULL DEFAULT '',
  queue    text NOT NULL DEFAULT '',
  value    double precision NOT NULL,
  PRIMARY KEY (at, name, provider, queue)
);

CREATE TABLE psync.error_type (      -- filled by migrate from common/error_types.tsv
  code text PRIMARY KEY, family text NOT NULL, title text NOT NULL, provider_signal text NOT NULL,
  meaning text NOT NULL, user_action text NOT NULL, who_acts text NOT NULL, severity text NOT NULL,
  retry text NOT NULL, pauses text NOT NULL, banner text NOT NULL
);

CREATE TABLE psync.admin_token (
  token_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  token_hash bytea NOT NULL UNIQUE,
  role       text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
  name       text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  created_by text NOT NULL DEFAULT '',
  revoked_at timestamptz
);

-- Weekly partitions from last week to eight weeks ahead; called by migrate and the scheduler.
CREATE FUNCTION psync.make_partitions(weeks_ahead int DEFAULT 8) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  t text; w timestamptz; made int := 0; part text;
BEGIN
  FOR t IN SELECT unnest(ARRAY['attempt', 'attempt_body', 'webhook_event']) LOOP
    w := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 week';
    WHILE w < now() + make_interval(weeks => weeks_ahead) LOOP
      part := t || '_' || to_char(w AT TIME ZONE 'UTC', 'IYYY"w"IW');
      IF to_regclass('psync.' || part) IS NULL THEN
        EXECUTE format('CREATE TABLE psync.%I PARTITION OF psync.%I FOR VALUES FROM (%s) TO (%s)',
          part, t, psync.attempt_floor(w), psync.attempt_floor(w + interval '1 week'));
        made := made + 1;
      END IF;
      w := w + interval '1 week';
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

-- Drop what is wholly older than so many days.
CREATE FUNCTION psync.drop_partitions(days int DEFAULT 30) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  r record; dropped int := 0; upper_bound bigint;
BEGIN
  FOR r IN
    SELECT c.oid, c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent IN ('psync.attempt'::regclass, 'psync.attempt_body'::regclass,
                          'psync.webhook_event'::regclass)
  LOOP
    upper_bound := substring(r.bound FROM $re$TO \('?(-?\d+)'?\)$re$)::bigint;
    IF upper_bound <= psync.attempt_floor(now() - make_interval(days => days)) THEN
      EXECUTE format('DROP TABLE psync.%I', r.relname);
      dropped := dropped + 1;
    END IF;
  END LOOP;
  RETURN dropped;
END $$;
