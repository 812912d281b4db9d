-- What the provider says it holds beside what is held here, counted at the end of each full
-- sync: a record that is silently missing is the one fault that nothing else would show.
CREATE TABLE psync.completeness (
  connection_id  bigint NOT NULL REFERENCES psync.connection ON DELETE CASCADE,
  object_type    text NOT NULL,
  provider_count bigint NOT NULL,   -- size of the list, total of the search, or ids it named
  mirrored_count bigint NOT NULL,   -- alive and inside here
  failing_count  bigint NOT NULL,   -- named there and not storable: in the log, one by one
  run_id         bigint,
  checked_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (connection_id, object_type)
);
