-- Where a new customer's fields came from stands in its link, one value for all of them: as a row
-- for each field it took a quarter to a half of PostgreSQL's time in a first sync. A field that was
-- written anew since has a row in field_provenance, which goes before.
ALTER TABLE psync.record_link
  ADD COLUMN origin            jsonb,       -- field -> source property, when the link was made
  ADD COLUMN origin_version    int,         -- of the mapping, then
  ADD COLUMN origin_updated_at timestamptz, -- of the record at the provider, then
  ALTER COLUMN origin SET COMPRESSION lz4,
  ALTER COLUMN applied SET COMPRESSION lz4,
  ALTER COLUMN notes SET COMPRESSION lz4;
