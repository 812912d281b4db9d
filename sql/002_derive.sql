-- What the save needs to find the roots of a changed record, and partitions made by a login
-- that does not own the tables.

-- Ids of prices, products and coupons that a subscription or customer points to, wherever the
-- API version puts them: expanded objects and plain ids alike.
CREATE FUNCTION psync.stripe_refs(raw jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(DISTINCT id), '{}')
  FROM (
    SELECT CASE jsonb_typeof(v) WHEN 'string' THEN v #>> '{}' ELSE v ->> 'id' END AS id
    FROM jsonb_path_query(raw, '$.**{0 to 8}.coupon') v
    UNION ALL
    SELECT CASE jsonb_typeof(v) WHEN 'string' THEN v #>> '{}' ELSE v ->> 'id' END
    FROM jsonb_path_query(raw, '$.items.data[*].price') v
    UNION ALL
    SELECT CASE jsonb_typeof(v) WHEN 'string' THEN v #>> '{}' ELSE v ->> 'id' END
    FROM jsonb_path_query(raw, '$.items.data[*].price.product') v
  ) refs
  WHERE id IS NOT NULL
$$;

CREATE INDEX record_stripe_refs ON psync.record USING gin (psync.stripe_refs(raw))
  WHERE object_type IN ('subscription', 'customer');

-- The few invoices that say something about payment, among the many that are paid.
CREATE INDEX record_unpaid_invoice ON psync.record (connection_id, parent_id)
  WHERE object_type = 'invoice' AND raw ->> 'status' IN ('open', 'uncollectible');

ALTER FUNCTION psync.make_partitions(int) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION psync.drop_partitions(int) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION psync.make_partitions(int), psync.drop_partitions(int) FROM PUBLIC;
