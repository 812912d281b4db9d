-- What a subscription (or a customer's own discount) points to, as an expression that is part of
-- the statement that asks: stripe_refs() was planned anew by each. A customer without a discount,
-- as most are, is no longer in the index.

-- Ids of prices, products and coupons, wherever the API version puts them: expanded objects and
-- plain ids alike.
CREATE FUNCTION psync.stripe_ids(raw jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN jsonb_path_exists(raw, '$.**{0 to 8}.coupon')
         THEN jsonb_path_query_array(raw, '$.**{0 to 8}.coupon ? (@.type() == "string")')
           || jsonb_path_query_array(raw, '$.**{0 to 8}.coupon.id') ELSE '[]' END
    || jsonb_path_query_array(raw, '$.items.data[*].price ? (@.type() == "string")')
    || jsonb_path_query_array(raw, '$.items.data[*].price.id')
    || jsonb_path_query_array(raw, '$.items.data[*].price.product ? (@.type() == "string")')
    || jsonb_path_query_array(raw, '$.items.data[*].price.product.id')
$$;

LOCK TABLE psync.record; -- at once: what reads it and then writes would wait in a circle with us
CREATE INDEX record_stripe_ids ON psync.record USING gin (psync.stripe_ids(raw))
  WHERE object_type = 'subscription'
     OR (object_type = 'customer' AND jsonb_path_exists(raw, '$.**{0 to 8}.coupon'));
DROP INDEX psync.record_stripe_refs; -- the function goes with its last user: provider_stripe.sql
