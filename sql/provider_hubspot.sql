-- HubSpot: which customers depend on a record, and typed views over its JSON.

CREATE SCHEMA IF NOT EXISTS psync_bi;

-- Root records whose derived fields depend on the given ones.
CREATE OR REPLACE FUNCTION psync.hubspot_roots(connection_id bigint, object_type text,
                                               record_ids text[])
RETURNS TABLE (record_id text) LANGUAGE sql STABLE AS $$
  SELECT DISTINCT id FROM unnest($3) id WHERE $2 = 'company'
$$;

CREATE OR REPLACE VIEW psync_bi.hubspot_company AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       r.raw #>> '{properties,name}' AS name,
       lower(r.raw #>> '{properties,domain}') AS domain,
       r.raw #>> '{properties,lifecyclestage}' AS lifecycle_stage,
       r.raw #>> '{properties,hubspot_owner_id}' AS owner_id,
       r.raw #>> '{properties,industry}' AS industry,
       psync.as_numeric(r.raw #>> '{properties,annualrevenue}') AS annual_revenue,
       psync.as_bigint(r.raw #>> '{properties,numberofemployees}') AS number_of_employees,
       r.raw #>> '{properties,tier}' AS tier,
       r.created_at, r.updated_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'hubspot'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'company';

CREATE OR REPLACE VIEW psync_bi.hubspot_contact AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       r.parent_id AS company_id,
       lower(r.raw #>> '{properties,email}') AS email,
       r.raw #>> '{properties,firstname}' AS first_name,
       r.raw #>> '{properties,lastname}' AS last_name,
       r.raw #>> '{properties,jobtitle}' AS job_title,
       r.raw #>> '{properties,phone}' AS phone,
       r.raw #>> '{properties,lifecyclestage}' AS lifecycle_stage,
       r.raw #>> '{properties,hubspot_owner_id}' AS owner_id,
       r.created_at, r.updated_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'hubspot'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'contact';

COMMENT ON VIEW psync_bi.hubspot_company IS
  'HubSpot companies as last read: those in the mirrored scope now or once. Rows stay, marked.';
COMMENT ON VIEW psync_bi.hubspot_contact IS
  'HubSpot contacts of mirrored companies as last read. Rows stay, marked.';

DO $$
DECLARE
  r record;
BEGIN
  FOR r IN
    SELECT a.attrelid::regclass AS view, a.attname, v.words
    FROM (VALUES
      ('%', 'workspace_id', 'Workspace (tenant) the connection belongs to.'),
      ('%', 'connection_id', 'Connection the record was read through.'),
      ('%', 'record_id', 'HubSpot''s id of the record.'),
      ('%', 'lifecycle_stage', 'Property lifecyclestage.'),
      ('%', 'owner_id', 'Property hubspot_owner_id: HubSpot''s id of the owner.'),
      ('%', 'created_at', 'When it was made at HubSpot.'),
      ('%', 'updated_at', 'When it last changed at HubSpot.'),
      ('%', 'raw', 'HubSpot''s JSON, with the properties that the mapping needs.'),
      ('%', 'fetched_at', 'When it was last read.'),
      ('%', 'deleted_at', 'When it was found archived or gone at HubSpot; null while it lives.'),
      ('%', 'in_scope', 'Is it in the mirrored scope (list, stage or pipeline)?'),
      ('hubspot_company', 'name', 'Property name.'),
      ('hubspot_company', 'domain', 'Property domain, in lower case.'),
      ('hubspot_company', 'industry', 'Property industry.'),
      ('hubspot_company', 'annual_revenue', 'Property annualrevenue; null when it is no number.'),
      ('hubspot_company', 'number_of_employees',
       'Property numberofemployees; null when it is no whole number.'),
      ('hubspot_company', 'tier', 'Property tier.'),
      ('hubspot_contact', 'company_id', 'HubSpot''s id of the mirrored company it belongs to.'),
      ('hubspot_contact', 'email', 'Property email, in lower case.'),
      ('hubspot_contact', 'first_name', 'Property firstname.'),
      ('hubspot_contact', 'last_name', 'Property lastname.'),
      ('hubspot_contact', 'job_title', 'Property jobtitle.'),
      ('hubspot_contact', 'phone', 'Property phone.')
    ) v(view, col, words)
    JOIN pg_class k ON k.relname LIKE 'hubspot\_%' AND k.relname LIKE v.view
      AND k.relnamespace = 'psync_bi'::regnamespace
    JOIN pg_attribute a ON a.attrelid = k.oid AND a.attname = v.col
  LOOP
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', r.view, r.attname, r.words);
  END LOOP;
END $$;
