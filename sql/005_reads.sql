-- Some providers ration reads by the month: how many each connection made. No foreign key: a
-- connection is asked before it is kept.
CREATE TABLE psync.provider_read (
  connection_id bigint NOT NULL,
  month         date NOT NULL,       -- its first day, UTC
  reads         bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (connection_id, month)
) WITH (fillfactor = 50);
