-- The views for dashboards, psync_bi, and the one view of the gateway. Applied anew whenever
-- this text changes. Within a major version columns are only added, at the end of a view
-- (CREATE OR REPLACE refuses anything else, and keeps views that others built on these).

CREATE SCHEMA IF NOT EXISTS psync_bi;
COMMENT ON SCHEMA psync_bi IS 'What dashboards may rely on: views only.';

-- What the gateway has to know to route and verify a delivery.
CREATE OR REPLACE VIEW psync.gateway_route AS
SELECT c.connection_id, c.workspace_id, c.provider, c.mode, c.account_id, c.shard, c.state,
       coalesce(k.webhook_secrets, '{}') AS webhook_secrets
FROM psync.connection c
LEFT JOIN psync.credential k USING (connection_id);

-- ---------------------------------------------------------------- the two clocks

-- Usual duration: the longest of the last 7 good full runs, at least 15 minutes, at most 6 h.
-- A full run is due once a local day; it is late a local day (23, 24 or 25 hours) plus the
-- usual duration after the last good end, or when none was started on the due day although an
-- hour (the spread of the nightly runs) plus the usual duration has passed.
CREATE OR REPLACE VIEW psync_bi.connection_status AS
SELECT c.connection_id, c.workspace_id, w.name AS workspace, c.provider, c.mode,
       c.account_id, c.account_name,
       c.state, c.state_code, c.state_reason, c.state_since,
       c.last_incremental_at, c.last_catch_up_at, c.last_delivery_at,
       age.minutes AS incremental_age_business_minutes,
       CASE
         WHEN c.state <> 'connected' THEN 'not_connected'
         WHEN c.channel_state = 'stale' THEN 'stale'
         WHEN c.last_incremental_at IS NULL THEN 'never'
         WHEN age.minutes <= 30 THEN CASE c.channel_state WHEN 'quiet' THEN 'quiet' ELSE 'fresh' END
         WHEN c.channel_state = 'unknown' THEN 'unknown'
         ELSE 'stale'
       END AS incremental_health,
       c.last_full_success_at,
       extract(epoch FROM now() - c.last_full_success_at)::float8 / 3600 AS full_age_hours,
       CASE
         WHEN c.state <> 'connected' THEN 'not_connected'
         WHEN c.last_full_success_at IS NULL THEN 'never'
         WHEN now() > (c.last_full_success_at AT TIME ZONE w.tz + interval '1 day') AT TIME ZONE w.tz
                      + usual.took THEN 'stale'
         WHEN now() > due.at + interval '1 hour' + usual.took AND c.state_since < due.at
              AND NOT EXISTS (
                SELECT FROM psync.run r
                WHERE r.connection_id = c.connection_id AND r.kind = 'full'
                  AND r.started_at >= (due.day::timestamp AT TIME ZONE w.tz)) THEN 'stale'
         ELSE 'fresh'
       END AS full_health,
       c.next_full_at, c.throttled_until, c.throttled_why,
       least(c.probe_missed, 2147483647)::int AS probe_missed,
       c.paused_at, c.paused_by, c.scope_kind, c.scope_id, c.scope_name, c.scope_size,
       (SELECT count(*) FROM psync.record_seen s
        WHERE s.connection_id = c.connection_id AND s.state = 'failing') AS failing,
       held.provider_count AS provider_records, held.mirrored_count AS mirrored_records,
       held.missing AS missing_records
FROM psync.connection c
JOIN psync.workspace w USING (workspace_id)
CROSS JOIN LATERAL (
  SELECT psync.business_minutes(c.last_incremental_at, now(), w.tz, w.business_hours) AS minutes
) age
CROSS JOIN LATERAL (
  SELECT least(greatest(coalesce(max(took), interval '0'), interval '15 minutes'),
               interval '6 hours') AS took
  FROM (SELECT r.finished_at - r.started_at AS took FROM psync.run r
        WHERE r.connection_id = c.connection_id AND r.kind = 'full' AND r.status = 'succeeded'
        ORDER BY r.run_id DESC LIMIT 7) last7
) usual
CROSS JOIN LATERAL (
  SELECT d AS day, (d + w.nightly_at) AT TIME ZONE w.tz AS at
  FROM (SELECT (now() AT TIME ZONE w.tz - w.nightly_at::interval)::date AS d) x
) due
CROSS JOIN LATERAL (
  SELECT sum(k.provider_count)::bigint AS provider_count,
         sum(k.mirrored_count)::bigint AS mirrored_count,
         sum(k.provider_count - k.mirrored_count - k.failing_count)::bigint AS missing
  FROM psync.completeness k WHERE k.connection_id = c.connection_id
) held;

CREATE OR REPLACE VIEW psync_bi.completeness AS
SELECT c.workspace_id, k.connection_id, c.provider, k.object_type, k.provider_count,
       k.mirrored_count, k.failing_count,
       k.provider_count - k.mirrored_count - k.failing_count AS difference,
       CASE WHEN k.provider_count - k.mirrored_count - k.failing_count <> 0
            THEN 'mirror_incomplete' ELSE '' END AS error_code,
       k.run_id, k.checked_at
FROM psync.completeness k
JOIN psync.connection c ON c.connection_id = k.connection_id;

-- ---------------------------------------------------------------- log and runs

CREATE OR REPLACE VIEW psync_bi.sync_log AS
SELECT a.attempt_id, a.started_at, a.finished_at, c.workspace_id, a.connection_id, c.provider,
       c.mode, a.run_id, a.kind, a.trigger, a.actor, a.object_type, a.record_id, a.customer_id,
       a.attempt_no, a.status, a.duration_ms, a.queue_wait_ms, a.lag_ms, a.events,
       a.error_count, a.error_code, e.title AS error_title, e.family AS error_family,
       e.severity, e.retry, a.error_field, a.error_message, a.seen, a.changed, a.http_status,
       a.endpoint, a.provider_request_id, a.next_retry_at, a.retry_of,
       a.resolved_by IS NOT NULL AS resolved, a.worker
FROM psync.attempt a
LEFT JOIN psync.connection c ON c.connection_id = a.connection_id
LEFT JOIN psync.error_type e ON e.code = a.error_code
WHERE a.attempt_id >= psync.attempt_floor(now() - interval '30 days');

CREATE OR REPLACE VIEW psync_bi.run_history AS
SELECT r.run_id, r.connection_id, r.workspace_id, c.provider, c.mode, r.kind, r.trigger, r.status,
       r.requested_by, r.queued_at, r.started_at, r.finished_at,
       extract(epoch FROM coalesce(r.finished_at, now()) - r.started_at)::float8 AS seconds,
       r.expected, k.seen, k.created, k.updated, k.unchanged, k.skipped, r.archived, k.failed,
       greatest(r.api_calls, k.api_calls) AS api_calls, r.throttled_ms,
       CASE
         WHEN r.status IN ('succeeded', 'partial') THEN 1
         WHEN r.expected > 0 THEN least(k.seen::float8 / r.expected, 1)
       END AS progress_ratio,
       r.error_code, r.error_message, r.objects
FROM psync.run r
LEFT JOIN psync.connection c ON c.connection_id = r.connection_id
CROSS JOIN LATERAL (
  SELECT coalesce(sum(h.seen), 0)::bigint AS seen, coalesce(sum(h.created), 0)::bigint AS created,
         coalesce(sum(h.updated), 0)::bigint AS updated,
         coalesce(sum(h.unchanged), 0)::bigint AS unchanged,
         coalesce(sum(h.skipped), 0)::bigint AS skipped,
         coalesce(sum(h.failed), 0)::bigint AS failed,
         coalesce(sum(h.api_calls), 0)::bigint AS api_calls
  FROM psync.run_chunk h WHERE h.run_id = r.run_id
) k;

CREATE OR REPLACE VIEW psync_bi.errors_daily AS
SELECT (a.started_at AT TIME ZONE 'UTC')::date AS day, c.workspace_id, c.provider, a.error_code,
       e.title AS error_title, e.severity, count(*) AS attempts,
       count(DISTINCT (a.connection_id, a.object_type, a.record_id))
         FILTER (WHERE a.record_id IS NOT NULL) AS records,
       max(a.started_at) AS last_seen_at
FROM psync.attempt a
JOIN psync.connection c ON c.connection_id = a.connection_id
LEFT JOIN psync.error_type e ON e.code = a.error_code
WHERE a.attempt_id >= psync.attempt_floor(now() - interval '30 days')
  AND a.status IN ('failed', 'partial', 'retrying') AND a.error_code <> ''
GROUP BY 1, 2, 3, 4, 5, 6;

-- ---------------------------------------------------------------- records and customers

CREATE OR REPLACE VIEW psync_bi.record_health AS
SELECT c.workspace_id, s.connection_id, c.provider, s.object_type, s.record_id, l.customer_id,
       s.state, s.reason_code, e.title AS reason, e.user_action, s.fetched_at AS last_synced_at,
       s.fail_count
FROM psync.record_seen s
JOIN psync.connection c ON c.connection_id = s.connection_id
LEFT JOIN psync.record_link l ON l.connection_id = s.connection_id
  AND l.object_type = s.object_type AND l.record_id = s.record_id
LEFT JOIN psync.error_type e ON e.code = s.reason_code;

CREATE OR REPLACE VIEW psync_bi.customer AS
SELECT workspace_id, customer_id,
       fields ->> 'name' AS name, fields ->> 'domain' AS domain, fields ->> 'owner' AS owner,
       fields ->> 'plan' AS plan, psync.as_numeric(fields ->> 'arr') AS arr,
       fields ->> 'industry' AS industry,
       psync.as_bigint(fields ->> 'employee_count') AS employee_count,
       psync.as_numeric(fields ->> 'mrr') AS mrr, fields ->> 'mrr_currency' AS mrr_currency,
       nullif(fields -> 'mrr_by_currency', 'null') AS mrr_by_currency,
       fields ->> 'payment_status' AS payment_status,
       fields ->> 'subscription_status' AS subscription_status,
       fields - ARRAY['name', 'domain', 'owner', 'plan', 'arr', 'industry', 'employee_count',
                      'mrr', 'mrr_currency', 'mrr_by_currency', 'payment_status',
                      'subscription_status', 'created_at'] AS custom,
       archived_at, archived_why,
       psync.as_time(fields ->> 'created_at') AS created_at, updated_at
FROM psync.customer;

-- As the customer was linked, unless the field was written anew since.
CREATE OR REPLACE VIEW psync.field_origin AS
SELECT p.customer_id, p.field, p.connection_id, p.object_type, p.record_id, p.source_property,
       p.mapping_version, p.source_updated_at, p.written_at
FROM psync.field_provenance p
UNION ALL
SELECT l.customer_id, f.key, l.connection_id, l.object_type, l.record_id, f.value,
       l.origin_version, l.origin_updated_at, l.linked_at
FROM psync.record_link l CROSS JOIN LATERAL jsonb_each_text(l.origin) f
WHERE NOT EXISTS (SELECT FROM psync.field_provenance p WHERE p.customer_id = l.customer_id
                  AND p.field = f.key AND p.connection_id = l.connection_id);

CREATE OR REPLACE VIEW psync_bi.field_provenance AS
SELECT c.workspace_id, p.customer_id, p.field, p.connection_id, c.provider, p.object_type,
       p.record_id, p.record_id AS source_record_id, p.source_property, p.mapping_version,
       p.source_updated_at, p.written_at
FROM psync.field_origin p
JOIN psync.connection c ON c.connection_id = p.connection_id;

-- ---------------------------------------------------------------- webhooks, audit, gauges

CREATE OR REPLACE VIEW psync_bi.webhook_health_hourly AS
SELECT date_trunc('hour', v.received_at, 'UTC') AS hour, c.workspace_id, v.provider,
       v.connection_id, v.verdict, count(*) AS events,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY v.lag_ms / 1000.0::float8) AS lag_p50_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY v.lag_ms / 1000.0::float8) AS lag_p95_seconds
FROM psync.webhook_event v
LEFT JOIN psync.connection c ON c.connection_id = v.connection_id
WHERE v.event_no >= psync.attempt_floor(now() - interval '30 days')
GROUP BY 1, 2, 3, 4, 5;

CREATE OR REPLACE VIEW psync_bi.audit_trail AS
SELECT audit_id, at, workspace_id, connection_id, actor, actor_kind, action, target, reason
FROM psync.audit;

CREATE OR REPLACE VIEW psync_bi.gauge_history AS
SELECT at, name, provider, queue, value FROM psync.gauge_sample;

CREATE OR REPLACE VIEW psync_bi.error_reference AS
SELECT code, family, title, provider_signal, meaning, user_action, who_acts, severity, retry,
       pauses, banner
FROM psync.error_type;

-- ---------------------------------------------------------------- what each of it means

COMMENT ON VIEW psync_bi.connection_status IS
  'One row a connection: banner, the two clocks and what they mean.';
COMMENT ON VIEW psync_bi.completeness IS
  'What the provider holds beside what is here, counted at the end of each full sync.';
COMMENT ON VIEW psync_bi.sync_log IS
  'Every attempt of the last 30 days: one try at one unit of work.';
COMMENT ON VIEW psync_bi.run_history IS 'Full, incremental and bulk runs with their counts.';
COMMENT ON VIEW psync_bi.errors_daily IS
  'Attempts with errors of the last 30 days by UTC day, provider and error type.';
COMMENT ON VIEW psync_bi.record_health IS
  'One row a record of a provider: is it in sync, and if not, why and what to do.';
COMMENT ON VIEW psync_bi.customer IS 'Customers with the fields that the mapping fills.';
COMMENT ON VIEW psync_bi.field_provenance IS
  'Where each mapped field of a customer came from, by provider.';
COMMENT ON VIEW psync_bi.webhook_health_hourly IS
  'Webhook deliveries of the last 30 days by hour and verdict.';
COMMENT ON VIEW psync_bi.audit_trail IS 'Who did what, when and why.';
COMMENT ON VIEW psync_bi.gauge_history IS 'Queue depth and other figures once a minute; calls of each limit once an hour (quota_calls).';
COMMENT ON VIEW psync_bi.error_reference IS 'The error types: what they mean and what to do.';

DO $$
DECLARE
  r record;
BEGIN
  FOR r IN
    SELECT a.attrelid::regclass AS view, a.attname, v.words
    FROM (VALUES
      ('%', 'workspace_id', 'Workspace (tenant).'),
      ('%', 'connection_id', 'Connection: one workspace, one provider, one mode.'),
      ('%', 'provider', 'hubspot or stripe.'),
      ('%', 'mode', 'live or test.'),
      ('%', 'customer_id', 'Customer; null when there is none.'),
      ('%', 'object_type', 'Kind of record: company, contact, customer, subscription, ...'),
      ('%', 'record_id', 'The provider''s id of the record.'),
      ('%', 'error_code', 'Error type; empty when there is none. See error_reference.'),
      ('%', 'error_title', 'Name of the error type.'),
      ('%', 'error_message', 'What happened, in the provider''s words or ours.'),
      ('%', 'severity', 'error, warning or skipped.'),
      ('%', 'retry', 'auto, after_fix, manual or never.'),
      ('%', 'run_id', 'Run.'),
      ('%', 'started_at', 'When it began.'),
      ('%', 'finished_at', 'When it ended.'),
      ('%', 'trigger', 'What caused it: webhook, nightly, run_now, resync, retry, ...'),
      ('connection_status', 'workspace', 'Name of the workspace.'),
      ('connection_status', 'account_id', 'The provider''s id of the account.'),
      ('connection_status', 'account_name', 'The account''s name at the provider.'),
      ('connection_status', 'state', 'connected, reauthorize or disconnected.'),
      ('connection_status', 'state_code', 'Error type that caused the state; empty when none.'),
      ('connection_status', 'state_reason', 'Why, in a sentence.'),
      ('connection_status', 'state_since', 'Since when.'),
      ('connection_status', 'last_incremental_at',
       'When the webhook channel was last known to be good.'),
      ('connection_status', 'last_catch_up_at', 'When changes were last asked for.'),
      ('connection_status', 'last_delivery_at', 'Last verified webhook delivery.'),
      ('connection_status', 'incremental_age_business_minutes',
       'Minutes since last_incremental_at inside the workspace''s business hours.'),
      ('connection_status', 'incremental_health',
       'fresh, quiet (nothing changed at the provider), stale, unknown (could not be asked), never, not_connected.'),
      ('connection_status', 'last_full_success_at', 'When the last complete full sync ended.'),
      ('connection_status', 'full_age_hours', 'Hours since then.'),
      ('connection_status', 'full_health',
       'fresh, stale (a local day plus the usual duration has passed, or none was started on the due day), never, not_connected.'),
      ('connection_status', 'next_full_at', 'When the next nightly full sync is due.'),
      ('connection_status', 'throttled_until',
       'Null: limits are kept in the queue. The admin page and `pivotal-sync status` show what calls wait for.'),
      ('connection_status', 'throttled_why', 'Null, likewise.'),
      ('connection_status', 'probe_missed',
       'Changes that a catch-up found and no webhook had told.'),
      ('connection_status', 'paused_at', 'Since when a person holds it; null when nobody does.'),
      ('connection_status', 'paused_by', 'Who.'),
      ('connection_status', 'scope_kind', 'What is mirrored. HubSpot: list, stage or pipeline; Stripe: product or lookup_key, null for all.'),
      ('connection_status', 'scope_id', 'Which one; several have commas between them.'),
      ('connection_status', 'scope_name', 'Its name at the provider.'),
      ('connection_status', 'scope_size', 'How many records it holds, as the provider says.'),
      ('connection_status', 'failing', 'Records that could not be written.'),
      ('connection_status', 'provider_records',
       'Records that the provider counted at the last full sync; null when it does not.'),
      ('connection_status', 'mirrored_records', 'How many of them were here then.'),
      ('connection_status', 'missing_records',
       'The difference, less those that could not be written; 0 is as it should be.'),
      ('completeness', 'provider_count',
       'What the provider says: size of the list, total of the search, ids it named.'),
      ('completeness', 'mirrored_count', 'Records here, alive and inside the scope.'),
      ('completeness', 'failing_count', 'Records that could not be written; see record_health.'),
      ('completeness', 'difference', 'What neither of the two explains; 0 is as it should be.'),
      ('completeness', 'checked_at', 'When it was counted.'),
      ('sync_log', 'attempt_id', 'Attempt; ordered by time.'),
      ('sync_log', 'run_id', 'Run it belongs to; null outside of runs.'),
      ('sync_log', 'kind', 'record, chunk (part of a run) or check.'),
      ('sync_log', 'actor', 'Who asked for it; empty for the system.'),
      ('sync_log', 'record_id', 'The provider''s id of the record; null for a part of a run.'),
      ('sync_log', 'attempt_no', 'Which try at the same unit.'),
      ('sync_log', 'status',
       'succeeded, partial, failed, retrying, skipped, cancelled or interrupted.'),
      ('sync_log', 'duration_ms', 'How long it took.'),
      ('sync_log', 'queue_wait_ms', 'How long the unit had waited.'),
      ('sync_log', 'lag_ms', 'From the provider''s event to the commit.'),
      ('sync_log', 'events', 'Deliveries this try stands for.'),
      ('sync_log', 'error_count', 'Errors in it.'),
      ('sync_log', 'error_family', 'Family of the error type.'),
      ('sync_log', 'error_field', 'Customer field that could not be written.'),
      ('sync_log', 'seen', 'Records read (part of a run).'),
      ('sync_log', 'changed', 'Records written (part of a run).'),
      ('sync_log', 'http_status', 'Status of the provider''s answer.'),
      ('sync_log', 'endpoint', 'Which call.'),
      ('sync_log', 'provider_request_id', 'The provider''s own id of the call.'),
      ('sync_log', 'next_retry_at', 'When it is tried again by itself.'),
      ('sync_log', 'retry_of', 'Attempt that this one repeats.'),
      ('sync_log', 'resolved', 'Did a later try at the same unit succeed?'),
      ('sync_log', 'worker', 'Worker process.'),
      ('run_history', 'kind', 'full, incremental or bulk.'),
      ('run_history', 'status', 'queued, running, succeeded, partial, failed or cancelled.'),
      ('run_history', 'requested_by', 'Who asked for it.'),
      ('run_history', 'queued_at', 'When it was asked for.'),
      ('run_history', 'seconds', 'How long it took, or has taken so far.'),
      ('run_history', 'expected', 'Records expected; null when unknown.'),
      ('run_history', 'seen', 'Records read.'),
      ('run_history', 'created', 'Records new here.'),
      ('run_history', 'updated', 'Records that differed.'),
      ('run_history', 'unchanged', 'Records that were the same.'),
      ('run_history', 'skipped', 'Records left out on purpose.'),
      ('run_history', 'archived', 'Records found gone at the end.'),
      ('run_history', 'failed', 'Records that could not be written.'),
      ('run_history', 'api_calls', 'Calls to the provider.'),
      ('run_history', 'throttled_ms', 'Time spent waiting for the provider''s limit.'),
      ('run_history', 'progress_ratio', '0 to 1; null when the end is unknown.'),
      ('run_history', 'objects', 'Counts by kind of record, when it has ended.'),
      ('errors_daily', 'day', 'Day in UTC.'),
      ('errors_daily', 'attempts', 'Attempts with that error.'),
      ('errors_daily', 'records', 'Different records among them.'),
      ('errors_daily', 'last_seen_at', 'The latest of them.'),
      ('record_health', 'state',
       'in_sync, excluded, failing, unmatched, ambiguous, archived or merged.'),
      ('record_health', 'reason_code', 'Error type behind the state; empty when none.'),
      ('record_health', 'reason', 'Its name.'),
      ('record_health', 'user_action', 'What to do about it.'),
      ('record_health', 'last_synced_at', 'When it was last read.'),
      ('record_health', 'fail_count', 'Failed tries in a row.'),
      ('customer', 'customer_id', 'Customer.'),
      ('customer', 'name', 'Name.'),
      ('customer', 'domain', 'Domain, lower case; not unique.'),
      ('customer', 'owner', 'E-mail of the owner.'),
      ('customer', 'plan', 'Plan.'),
      ('customer', 'arr', 'Annual recurring revenue as the CRM says.'),
      ('customer', 'industry', 'Industry.'),
      ('customer', 'employee_count', 'Number of employees.'),
      ('customer', 'mrr',
       'Monthly recurring revenue in major units of mrr_currency; 0 for one that pays nothing, is deleted, or has subscriptions outside the scope only; null without a linked Stripe customer or with other currencies only.'),
      ('customer', 'mrr_currency', 'Currency of mrr, lower-case ISO code.'),
      ('customer', 'mrr_by_currency', 'Monthly recurring revenue of each currency in minor units.'),
      ('customer', 'payment_status',
       'ok, past_due, unpaid, or none (no live subscription inside the scope, no open invoice); null without a linked Stripe customer.'),
      ('customer', 'subscription_status',
       'The first of active, trialing, past_due, unpaid, paused, incomplete, canceled that a subscription inside the scope has; else none; null without a linked Stripe customer.'),
      ('customer', 'custom', 'Every other field.'),
      ('customer', 'archived_at', 'When it was archived; null while it lives.'),
      ('customer', 'archived_why', 'Why.'),
      ('customer', 'created_at', 'When it was made at its source.'),
      ('customer', 'updated_at', 'When a field last changed here.'),
      ('field_provenance', 'customer_id', 'Customer.'),
      ('field_provenance', 'field', 'Field of the customer.'),
      ('field_provenance', 'record_id', 'The provider''s id of the record it came from.'),
      ('field_provenance', 'source_record_id', 'The same as record_id.'),
      ('field_provenance', 'source_property', 'Property of that record.'),
      ('field_provenance', 'mapping_version', 'Version of the mapping that was in force.'),
      ('field_provenance', 'source_updated_at', 'When the record last changed at the provider.'),
      ('field_provenance', 'written_at', 'When it was written here.'),
      ('webhook_health_hourly', 'hour', 'Hour, in UTC.'),
      ('webhook_health_hourly', 'connection_id', 'Connection; null when none was found.'),
      ('webhook_health_hourly', 'verdict',
       'What became of the delivery: accepted, duplicate_event, wh_signature_invalid, ...'),
      ('webhook_health_hourly', 'events', 'How many.'),
      ('webhook_health_hourly', 'lag_p50_seconds',
       'Median time from the provider''s event to its arrival here.'),
      ('webhook_health_hourly', 'lag_p95_seconds', 'The same, 95th percentile.'),
      ('audit_trail', 'audit_id', 'Number of the entry.'),
      ('audit_trail', 'at', 'When.'),
      ('audit_trail', 'actor', 'Who.'),
      ('audit_trail', 'actor_kind', 'cli, page, api or system.'),
      ('audit_trail', 'action', 'What was done.'),
      ('audit_trail', 'target', 'To what.'),
      ('audit_trail', 'reason', 'Why, when it was said.'),
      ('gauge_history', 'at', 'When it was measured.'),
      ('gauge_history', 'name', 'What was measured.'),
      ('gauge_history', 'queue', 'Lane, or account and limit, it belongs to; empty when none.'),
      ('gauge_history', 'value', 'The value, in base units.'),
      ('error_reference', 'code', 'Error type; never renamed.'),
      ('error_reference', 'family', 'Family.'),
      ('error_reference', 'title', 'Name for people.'),
      ('error_reference', 'provider_signal', 'What the provider answers.'),
      ('error_reference', 'meaning', 'What it means.'),
      ('error_reference', 'user_action', 'What to do.'),
      ('error_reference', 'who_acts', 'Who can do it.'),
      ('error_reference', 'pauses',
       'What waits meanwhile: nothing, field, record, channel, account or connection.'),
      ('error_reference', 'banner', 'State it puts the connection in; empty for none.')
    ) v(view, col, words)
    JOIN pg_class k ON k.relnamespace = 'psync_bi'::regnamespace AND k.relkind = 'v'
      AND (k.relname = v.view
           OR v.view = '%' AND k.relname NOT LIKE 'hubspot\_%' AND k.relname NOT LIKE 'stripe\_%')
    JOIN pg_attribute a ON a.attrelid = k.oid AND a.attname = v.col
    ORDER BY v.view <> '%'  -- the particular after the general
  LOOP
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', r.view, r.attname, r.words);
  END LOOP;
END $$;
