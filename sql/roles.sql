-- Roles without login: logins are made by whoever runs the database, as members of these.
-- Applied anew whenever this text or anything before it changed.
--   psync_owner      everything in both schemas
--   psync_app        what workers, scheduler, admin and the command do
--   psync_gw         the webhook gateway: one view
--   psync_bi_reader  dashboards: the views of psync_bi and nothing else

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['psync_owner', 'psync_app', 'psync_gw', 'psync_bi_reader'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database of this server is being migrated too
      END;
    END IF;
  END LOOP;
END $$;

REVOKE ALL ON SCHEMA psync, psync_bi FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA psync FROM PUBLIC;

GRANT ALL ON SCHEMA psync, psync_bi TO psync_owner;
GRANT ALL ON ALL TABLES IN SCHEMA psync TO psync_owner;
GRANT ALL ON ALL TABLES IN SCHEMA psync_bi TO psync_owner;
GRANT ALL ON ALL SEQUENCES IN SCHEMA psync TO psync_owner;
GRANT ALL ON ALL FUNCTIONS IN SCHEMA psync TO psync_owner;

GRANT USAGE ON SCHEMA psync, psync_bi TO psync_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA psync TO psync_app;
GRANT SELECT ON ALL TABLES IN SCHEMA psync_bi TO psync_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA psync TO psync_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA psync TO psync_app;
REVOKE INSERT, UPDATE, DELETE ON psync.migration FROM psync_app;

GRANT USAGE ON SCHEMA psync TO psync_gw;
REVOKE ALL ON ALL TABLES IN SCHEMA psync FROM psync_gw;
GRANT SELECT ON psync.gateway_route TO psync_gw;

GRANT USAGE ON SCHEMA psync_bi TO psync_bi_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA psync_bi TO psync_bi_reader;
