-- What ALERT_WEBHOOK_URL is told: one row a change of a connection's condition, sent at least once
-- by whichever scheduler takes it. connection.alerted is the condition that was noticed last, so
-- that of several schedulers one notices.
ALTER TABLE psync.connection ADD COLUMN alerted text NOT NULL DEFAULT 'ok'
  CHECK (alerted IN ('ok', 'reauthorize', 'disconnected', 'full_stale', 'incremental_stale'));

CREATE TABLE psync.alert (
  alert_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  connection_id bigint NOT NULL REFERENCES psync.connection ON DELETE CASCADE,
  condition     text NOT NULL,      -- as in connection.alerted
  was           text NOT NULL,
  reason        text NOT NULL DEFAULT '',
  at            timestamptz NOT NULL DEFAULT now(),
  tries         int NOT NULL DEFAULT 0,
  next_at       timestamptz NOT NULL DEFAULT now(), -- also the lease of whoever sends it
  sent_at       timestamptz,
  last_error    text NOT NULL DEFAULT ''
);
CREATE INDEX alert_open ON psync.alert (connection_id, alert_id) WHERE sent_at IS NULL;
