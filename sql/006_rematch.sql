-- Billing records that match nobody yet are looked up by the mail domain of a customer that is
-- new, and by the id of the other system that they keep; without these every batch of a first
-- sync walked through all of them.
CREATE INDEX record_email_domain ON psync.record
  (connection_id, object_type, lower(substring(raw ->> 'email' FROM '[^@]*$')))
  WHERE raw ->> 'email' IS NOT NULL;
CREATE INDEX record_keeps_id ON psync.record (connection_id, object_type)
  WHERE raw ->> 'metadata' LIKE '%hubspot%' OR raw ->> 'metadata' LIKE '%hs\_object%';
