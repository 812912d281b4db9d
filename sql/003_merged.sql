-- Who was merged into a record: asked when a survivor's customer is made, so that the links of
-- those that lived on in it can follow.
CREATE INDEX record_merged ON psync.record (connection_id, object_type, merged_into)
  WHERE merged_into IS NOT NULL;
