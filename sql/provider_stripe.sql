-- Stripe: which customers depend on a record, what their fields derive from, and typed views.

CREATE SCHEMA IF NOT EXISTS psync_bi;

-- Root records (Stripe customers) whose derived fields depend on the given ones.
CREATE OR REPLACE FUNCTION psync.stripe_roots(connection_id bigint, object_type text,
                                              record_ids text[])
RETURNS TABLE (record_id text) LANGUAGE sql STABLE AS $$
  SELECT DISTINCT id FROM unnest($3) id WHERE $2 = 'customer'
  UNION
  -- LIMIT makes each a look-up by key: without statistics the planner walked all subscriptions.
  SELECT r.parent_id FROM unnest($3) AS x (id) CROSS JOIN LATERAL (
    SELECT v.parent_id FROM psync.record v
    WHERE v.connection_id = $1 AND v.object_type = $2 AND v.record_id = x.id LIMIT 1
  ) r
  WHERE $2 IN ('subscription', 'invoice') AND r.parent_id IS NOT NULL
  UNION
  -- By the index on what subscriptions (and customers' own discounts) point to and, for the same
  -- reason, by that one alone (OFFSET).
  SELECT CASE r.object_type WHEN 'customer' THEN r.record_id ELSE r.parent_id END
  FROM (SELECT v.connection_id, v.object_type, v.record_id, v.parent_id FROM psync.record v
        WHERE $2 IN ('price', 'product', 'coupon') AND psync.stripe_ids(v.raw) ?| $3
          AND (v.object_type = 'subscription' OR (v.object_type = 'customer'
               AND jsonb_path_exists(v.raw, '$.**{0 to 8}.coupon'))) -- as the index has it
        OFFSET 0) r
  WHERE r.connection_id = $1 AND (r.object_type = 'customer' OR r.parent_id IS NOT NULL)
$$;

-- Of these customers those that a full run works out anew though nothing of them changed: time
-- changes amounts and due dates where there is a subscription or an invoice; and another currency
-- may have been chosen since.
CREATE OR REPLACE FUNCTION psync.stripe_timed(connection_id bigint, record_ids text[], currency text)
RETURNS SETOF text LANGUAGE sql STABLE AS $$
  SELECT x.id FROM unnest($2) AS x (id)
  LEFT JOIN LATERAL (
    SELECT l.notes ->> 'currency' AS currency FROM psync.record_link l
    WHERE l.connection_id = $1 AND l.object_type = 'customer' AND l.record_id = x.id LIMIT 1
  ) l ON true
  LEFT JOIN LATERAL (
    SELECT true AS found FROM unnest(ARRAY['subscription', 'invoice']) AS t (object_type)
    CROSS JOIN LATERAL (
      SELECT FROM psync.record r
      WHERE r.connection_id = $1 AND r.object_type = t.object_type AND r.parent_id = x.id LIMIT 1
    ) r LIMIT 1
  ) k ON true
  WHERE k.found OR l.currency IS DISTINCT FROM $3
$$;

-- Of a subscription what provider/stripe_derive.c and stripe_mrr.c look at: half of its bytes.
CREATE OR REPLACE FUNCTION psync.stripe_amounts(raw jsonb) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT json_build_object('id', raw -> 'id', 'status', raw -> 'status',
    'currency', raw -> 'currency', 'discount', raw -> 'discount', 'discounts', raw -> 'discounts',
    'items', json_build_object('data', raw #> '{items,data}'))
$$;

-- All that the derived fields of each of these customers depend on, in one object: json, which is
-- put together as text, where jsonb would be made anew at each level. A customer that is not
-- mirrored (yet) has no row.
DROP FUNCTION IF EXISTS psync.stripe_bundle(bigint, text[]); -- it returned jsonb
CREATE FUNCTION psync.stripe_bundle(connection_id bigint, record_ids text[])
RETURNS TABLE (record_id text, bundle json) LANGUAGE sql STABLE AS $$
  -- A customer points to nothing but coupons, and most to none: looking costs a part of asking
  -- stripe_ids(). One look-up by key for each part of each customer, whatever the planner believes:
  -- joins over a connection that was never analysed took 40 ms for 100 customers of 1,000, and
  -- grew. A subscription is taken out of TOAST once: without a member it is a value of its own.
  SELECT x.id, json_build_object(
    'customer', c.raw,
    'deleted', c.deleted_at IS NOT NULL OR coalesce(c.raw ->> 'deleted' = 'true', false),
    'subscriptions', coalesce(s.list, '[]'), 'prices', coalesce(p.prices, '{}'),
    'coupons', coalesce(p.coupons, '{}'), 'invoices', coalesce(i.list, '[]'))
  FROM unnest($2) AS x (id)
  CROSS JOIN LATERAL (
    SELECT r.raw, r.deleted_at, CASE WHEN jsonb_path_exists(r.raw, '$.**{0 to 8}.coupon')
           THEN psync.stripe_ids(r.raw) END AS ids
    FROM psync.record r
    WHERE r.connection_id = $1 AND r.object_type = 'customer' AND r.record_id = x.id LIMIT 1
  ) c
  LEFT JOIN LATERAL (
    SELECT json_agg(psync.stripe_amounts(v.raw) ORDER BY v.record_id) AS list,
           jsonb_agg(psync.stripe_ids(v.raw)) AS ids
    FROM (SELECT r.record_id, r.raw - 'metadata' AS raw FROM psync.record r
          WHERE r.connection_id = $1 AND r.object_type = 'subscription' AND r.parent_id = x.id
            AND r.deleted_at IS NULL AND r.in_scope OFFSET 0) v
  ) s ON true
  LEFT JOIN LATERAL (
    SELECT json_object_agg(r.record_id, r.raw) FILTER (WHERE r.object_type = 'price') AS prices,
           json_object_agg(r.record_id, r.raw) FILTER (WHERE r.object_type = 'coupon') AS coupons
    FROM (SELECT DISTINCT id #>> '{}' AS id FROM jsonb_path_query(jsonb_build_array(c.ids, s.ids),
            '$.** ? (@.type() == "string")') AS ref (id)) d
    CROSS JOIN unnest(ARRAY['price', 'coupon']) AS t (object_type)
    CROSS JOIN LATERAL (
      SELECT v.object_type, v.record_id, v.raw FROM psync.record v WHERE v.connection_id = $1
        AND v.object_type = t.object_type AND v.record_id = d.id LIMIT 1
    ) r
  ) p ON true
  LEFT JOIN LATERAL (
    SELECT json_agg(r.raw ORDER BY r.record_id) AS list FROM psync.record r
    WHERE r.connection_id = $1 AND r.object_type = 'invoice' AND r.parent_id = x.id
      AND r.raw ->> 'status' IN ('open', 'uncollectible') AND r.deleted_at IS NULL
  ) i ON true
$$;

DROP FUNCTION IF EXISTS psync.stripe_refs(jsonb); -- stripe_ids() took its place

CREATE OR REPLACE VIEW psync_bi.stripe_customer AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       r.raw ->> 'name' AS name,
       lower(r.raw ->> 'email') AS email,
       r.raw ->> 'currency' AS currency,
       psync.as_bigint(r.raw ->> 'balance') AS balance,
       psync.as_bool(r.raw ->> 'delinquent') AS delinquent,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'customer';

CREATE OR REPLACE VIEW psync_bi.stripe_subscription AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       r.parent_id AS customer_id,
       r.raw ->> 'status' AS status,
       r.raw ->> 'currency' AS currency,
       r.raw ->> 'collection_method' AS collection_method,
       coalesce(psync.as_unix(r.raw #>> '{items,data,0,current_period_start}'),
                psync.as_unix(r.raw ->> 'current_period_start')) AS current_period_start,
       coalesce(psync.as_unix(r.raw #>> '{items,data,0,current_period_end}'),
                psync.as_unix(r.raw ->> 'current_period_end')) AS current_period_end,
       psync.as_unix(r.raw ->> 'start_date') AS started_at,
       psync.as_unix(r.raw ->> 'trial_end') AS trial_end,
       psync.as_bool(r.raw ->> 'cancel_at_period_end') AS cancel_at_period_end,
       psync.as_unix(r.raw ->> 'cancel_at') AS cancel_at,
       psync.as_unix(r.raw ->> 'canceled_at') AS canceled_at,
       psync.as_unix(r.raw ->> 'ended_at') AS ended_at,
       r.raw #> '{items,data}' AS items,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'subscription';

CREATE OR REPLACE VIEW psync_bi.stripe_price AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       psync.ref_id(r.raw -> 'product') AS product_id,
       psync.as_bool(r.raw ->> 'active') AS active,
       r.raw ->> 'currency' AS currency,
       coalesce(psync.as_numeric(r.raw ->> 'unit_amount_decimal'), psync.as_numeric(r.raw ->> 'unit_amount')) AS unit_amount,
       r.raw ->> 'type' AS type,
       r.raw ->> 'billing_scheme' AS billing_scheme,
       r.raw #>> '{recurring,interval}' AS recurring_interval,
       psync.as_bigint(r.raw #>> '{recurring,interval_count}') AS recurring_interval_count,
       r.raw #>> '{recurring,usage_type}' AS usage_type,
       r.raw ->> 'lookup_key' AS lookup_key,
       r.raw ->> 'nickname' AS nickname,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'price';

CREATE OR REPLACE VIEW psync_bi.stripe_product AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       r.raw ->> 'name' AS name,
       psync.as_bool(r.raw ->> 'active') AS active,
       r.raw ->> 'description' AS description,
       psync.ref_id(r.raw -> 'default_price') AS default_price_id,
       psync.as_unix(r.raw ->> 'updated') AS updated,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'product';

CREATE OR REPLACE VIEW psync_bi.stripe_coupon AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       r.raw ->> 'name' AS name,
       psync.as_numeric(r.raw ->> 'percent_off') AS percent_off,
       psync.as_bigint(r.raw ->> 'amount_off') AS amount_off,
       r.raw ->> 'currency' AS currency,
       r.raw ->> 'duration' AS duration,
       psync.as_bigint(r.raw ->> 'duration_in_months') AS duration_in_months,
       psync.as_bool(r.raw ->> 'valid') AS valid,
       psync.as_bigint(r.raw ->> 'times_redeemed') AS times_redeemed,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'coupon';

CREATE OR REPLACE VIEW psync_bi.stripe_invoice AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       r.parent_id AS customer_id,
       coalesce(psync.ref_id(r.raw #> '{parent,subscription_details,subscription}'),
                psync.ref_id(r.raw -> 'subscription')) AS subscription_id,
       r.raw ->> 'number' AS number,
       r.raw ->> 'status' AS status,
       r.raw ->> 'currency' AS currency,
       psync.as_bigint(r.raw ->> 'total') AS total,
       psync.as_bigint(r.raw ->> 'amount_due') AS amount_due,
       psync.as_bigint(r.raw ->> 'amount_paid') AS amount_paid,
       psync.as_bigint(r.raw ->> 'amount_remaining') AS amount_remaining,
       psync.as_bigint(r.raw ->> 'attempt_count') AS attempt_count,
       psync.as_unix(r.raw ->> 'due_date') AS due_at,
       psync.as_unix(r.raw ->> 'period_start') AS period_start,
       psync.as_unix(r.raw ->> 'period_end') AS period_end,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'invoice';

CREATE OR REPLACE VIEW psync_bi.stripe_charge AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       psync.ref_id(r.raw -> 'customer') AS customer_id,
       r.raw ->> 'status' AS status,
       psync.as_bigint(r.raw ->> 'amount') AS amount,
       psync.as_bigint(r.raw ->> 'amount_refunded') AS amount_refunded,
       r.raw ->> 'currency' AS currency,
       psync.as_bool(r.raw ->> 'paid') AS paid,
       psync.as_bool(r.raw ->> 'refunded') AS refunded,
       psync.as_bool(r.raw ->> 'disputed') AS disputed,
       r.raw ->> 'failure_code' AS failure_code,
       psync.ref_id(r.raw -> 'payment_intent') AS payment_intent_id,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'charge';

CREATE OR REPLACE VIEW psync_bi.stripe_payment_intent AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       psync.ref_id(r.raw -> 'customer') AS customer_id,
       r.raw ->> 'status' AS status,
       psync.as_bigint(r.raw ->> 'amount') AS amount,
       psync.as_bigint(r.raw ->> 'amount_received') AS amount_received,
       r.raw ->> 'currency' AS currency,
       psync.ref_id(r.raw -> 'latest_charge') AS latest_charge_id,
       psync.as_unix(r.raw ->> 'canceled_at') AS canceled_at,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'payment_intent';

CREATE OR REPLACE VIEW psync_bi.stripe_refund AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       psync.ref_id(r.raw -> 'charge') AS charge_id,
       psync.ref_id(r.raw -> 'payment_intent') AS payment_intent_id,
       r.raw ->> 'status' AS status,
       psync.as_bigint(r.raw ->> 'amount') AS amount,
       r.raw ->> 'currency' AS currency,
       r.raw ->> 'reason' AS reason,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'refund';

CREATE OR REPLACE VIEW psync_bi.stripe_credit_note AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       psync.ref_id(r.raw -> 'customer') AS customer_id,
       psync.ref_id(r.raw -> 'invoice') AS invoice_id,
       r.raw ->> 'number' AS number,
       r.raw ->> 'status' AS status,
       psync.as_bigint(r.raw ->> 'amount') AS amount,
       r.raw ->> 'currency' AS currency,
       r.raw ->> 'reason' AS reason,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'credit_note';

CREATE OR REPLACE VIEW psync_bi.stripe_dispute AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       psync.ref_id(r.raw -> 'charge') AS charge_id,
       psync.ref_id(r.raw -> 'payment_intent') AS payment_intent_id,
       r.raw ->> 'status' AS status,
       psync.as_bigint(r.raw ->> 'amount') AS amount,
       r.raw ->> 'currency' AS currency,
       r.raw ->> 'reason' AS reason,
       psync.as_unix(r.raw #>> '{evidence_details,due_by}') AS evidence_due_at,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'dispute';

CREATE OR REPLACE VIEW psync_bi.stripe_promotion_code AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       r.raw ->> 'code' AS code,
       coalesce(psync.ref_id(r.raw #> '{promotion,coupon}'), psync.ref_id(r.raw -> 'coupon')) AS coupon_id,
       psync.ref_id(r.raw -> 'customer') AS customer_id,
       psync.as_bool(r.raw ->> 'active') AS active,
       psync.as_unix(r.raw ->> 'expires_at') AS expires_at,
       psync.as_bigint(r.raw ->> 'times_redeemed') AS times_redeemed,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'promotion_code';

CREATE OR REPLACE VIEW psync_bi.stripe_subscription_schedule AS
SELECT c.workspace_id, r.connection_id, r.record_id,
       psync.ref_id(r.raw -> 'customer') AS customer_id,
       psync.ref_id(r.raw -> 'subscription') AS subscription_id,
       r.raw ->> 'status' AS status,
       r.raw ->> 'end_behavior' AS end_behavior,
       psync.as_unix(r.raw #>> '{current_phase,start_date}') AS phase_start,
       psync.as_unix(r.raw #>> '{current_phase,end_date}') AS phase_end,
       r.raw -> 'phases' AS phases,
       r.created_at,
       r.raw, s.fetched_at, r.deleted_at, r.in_scope
FROM psync.record r
JOIN psync.connection c ON c.connection_id = r.connection_id AND c.provider = 'stripe'
LEFT JOIN psync.record_seen s ON s.connection_id = r.connection_id
  AND s.object_type = r.object_type AND s.record_id = r.record_id
WHERE r.object_type = 'subscription_schedule';

COMMENT ON VIEW psync_bi.stripe_customer IS
  'Stripe: customers as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_subscription IS
  'Stripe: subscriptions as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_price IS
  'Stripe: prices as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_product IS
  'Stripe: products as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_coupon IS
  'Stripe: coupons as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_invoice IS
  'Stripe: invoices of 13 months as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_charge IS
  'Stripe: charges as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_payment_intent IS
  'Stripe: payment intents as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_refund IS
  'Stripe: refunds as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_credit_note IS
  'Stripe: credit notes as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_dispute IS
  'Stripe: disputes as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_promotion_code IS
  'Stripe: promotion codes as last read. Rows stay, marked.';
COMMENT ON VIEW psync_bi.stripe_subscription_schedule IS
  'Stripe: subscription schedules as last read. Rows stay, marked.';

DO $$
DECLARE
  r record;
BEGIN
  FOR r IN
    SELECT a.attrelid::regclass AS view, a.attname, v.words
    FROM (VALUES
      ('%', 'workspace_id', 'Workspace (tenant) the connection belongs to.'),
      ('%', 'connection_id', 'Connection the record was read through.'),
      ('%', 'record_id', 'Stripe''s id of the object.'),
      ('%', 'created_at', 'When it was made at Stripe.'),
      ('%', 'raw', 'Stripe''s JSON with our expansions, embedded lists complete.'),
      ('%', 'fetched_at', 'When it was last read.'),
      ('%', 'deleted_at', 'When it was found deleted at Stripe; null while it lives.'),
      ('%', 'in_scope', 'Is it in the mirrored scope? Only subscriptions can be outside.'),
      ('stripe_customer', 'name', 'Name.'),
      ('stripe_customer', 'email', 'E-mail, in lower case.'),
      ('stripe_customer', 'currency', 'Currency it is charged in, lower case.'),
      ('stripe_customer', 'balance', 'Balance in minor units; negative = credit.'),
      ('stripe_customer', 'delinquent', 'Is its latest charge unpaid?'),
      ('stripe_subscription', 'customer_id', 'Stripe customer it belongs to.'),
      ('stripe_subscription', 'status', 'Status, as Stripe says it.'),
      ('stripe_subscription', 'currency', 'Currency, lower case.'),
      ('stripe_subscription', 'collection_method', 'charge_automatically or send_invoice.'),
      ('stripe_subscription', 'current_period_start', 'Start of the running billing period (of the first item).'),
      ('stripe_subscription', 'current_period_end', 'End of the running billing period (of the first item).'),
      ('stripe_subscription', 'started_at', 'When it began.'),
      ('stripe_subscription', 'trial_end', 'End of its trial.'),
      ('stripe_subscription', 'cancel_at_period_end', 'Will it end with the running period?'),
      ('stripe_subscription', 'cancel_at', 'When it is going to end.'),
      ('stripe_subscription', 'canceled_at', 'When it was cancelled.'),
      ('stripe_subscription', 'ended_at', 'When it ended.'),
      ('stripe_subscription', 'items', 'Its items as JSON: price, quantity, discounts.'),
      ('stripe_price', 'product_id', 'Product it is a price of.'),
      ('stripe_price', 'active', 'Can it be used for something new?'),
      ('stripe_price', 'currency', 'Currency, lower case.'),
      ('stripe_price', 'unit_amount', 'Amount of one unit in minor units, with decimals.'),
      ('stripe_price', 'type', 'recurring or one_time.'),
      ('stripe_price', 'billing_scheme', 'per_unit or tiered.'),
      ('stripe_price', 'recurring_interval', 'day, week, month or year.'),
      ('stripe_price', 'recurring_interval_count', 'How many intervals a period has.'),
      ('stripe_price', 'usage_type', 'licensed or metered.'),
      ('stripe_price', 'lookup_key', 'Lookup key.'),
      ('stripe_price', 'nickname', 'Name for people at Stripe.'),
      ('stripe_product', 'name', 'Name.'),
      ('stripe_product', 'active', 'Is it for sale?'),
      ('stripe_product', 'description', 'Description.'),
      ('stripe_product', 'default_price_id', 'Its default price.'),
      ('stripe_product', 'updated', 'When it last changed at Stripe.'),
      ('stripe_coupon', 'name', 'Name.'),
      ('stripe_coupon', 'percent_off', 'Per cent off.'),
      ('stripe_coupon', 'amount_off', 'Amount off in minor units.'),
      ('stripe_coupon', 'currency', 'Currency of amount_off, lower case.'),
      ('stripe_coupon', 'duration', 'once, repeating or forever.'),
      ('stripe_coupon', 'duration_in_months', 'Months, when repeating.'),
      ('stripe_coupon', 'valid', 'Can it still be used?'),
      ('stripe_coupon', 'times_redeemed', 'How often it was used.'),
      ('stripe_invoice', 'customer_id', 'Stripe customer it belongs to.'),
      ('stripe_invoice', 'subscription_id', 'Subscription it bills.'),
      ('stripe_invoice', 'number', 'Number printed on it.'),
      ('stripe_invoice', 'status', 'draft, open, paid, uncollectible or void.'),
      ('stripe_invoice', 'currency', 'Currency, lower case.'),
      ('stripe_invoice', 'total', 'Total in minor units.'),
      ('stripe_invoice', 'amount_due', 'Amount due in minor units.'),
      ('stripe_invoice', 'amount_paid', 'Amount paid in minor units.'),
      ('stripe_invoice', 'amount_remaining', 'Amount still open in minor units.'),
      ('stripe_invoice', 'attempt_count', 'How often a payment was tried.'),
      ('stripe_invoice', 'due_at', 'When it has to be paid.'),
      ('stripe_invoice', 'period_start', 'Start of the billed period.'),
      ('stripe_invoice', 'period_end', 'End of the billed period.'),
      ('stripe_charge', 'customer_id', 'Stripe customer.'),
      ('stripe_charge', 'status', 'succeeded, pending or failed.'),
      ('stripe_charge', 'amount', 'Amount in minor units.'),
      ('stripe_charge', 'amount_refunded', 'Refunded part in minor units.'),
      ('stripe_charge', 'currency', 'Currency, lower case.'),
      ('stripe_charge', 'paid', 'Was it paid?'),
      ('stripe_charge', 'refunded', 'Was all of it refunded?'),
      ('stripe_charge', 'disputed', 'Is it disputed?'),
      ('stripe_charge', 'failure_code', 'Why it failed.'),
      ('stripe_charge', 'payment_intent_id', 'Payment intent it belongs to.'),
      ('stripe_payment_intent', 'customer_id', 'Stripe customer.'),
      ('stripe_payment_intent', 'status', 'Status, as Stripe says it.'),
      ('stripe_payment_intent', 'amount', 'Amount in minor units.'),
      ('stripe_payment_intent', 'amount_received', 'Received part in minor units.'),
      ('stripe_payment_intent', 'currency', 'Currency, lower case.'),
      ('stripe_payment_intent', 'latest_charge_id', 'Its latest charge.'),
      ('stripe_payment_intent', 'canceled_at', 'When it was cancelled.'),
      ('stripe_refund', 'charge_id', 'Charge it gives back.'),
      ('stripe_refund', 'payment_intent_id', 'Payment intent it gives back.'),
      ('stripe_refund', 'status', 'Status, as Stripe says it.'),
      ('stripe_refund', 'amount', 'Amount in minor units.'),
      ('stripe_refund', 'currency', 'Currency, lower case.'),
      ('stripe_refund', 'reason', 'Reason.'),
      ('stripe_credit_note', 'customer_id', 'Stripe customer.'),
      ('stripe_credit_note', 'invoice_id', 'Invoice it corrects.'),
      ('stripe_credit_note', 'number', 'Number printed on it.'),
      ('stripe_credit_note', 'status', 'issued or void.'),
      ('stripe_credit_note', 'amount', 'Amount in minor units.'),
      ('stripe_credit_note', 'currency', 'Currency, lower case.'),
      ('stripe_credit_note', 'reason', 'Reason.'),
      ('stripe_dispute', 'charge_id', 'Disputed charge.'),
      ('stripe_dispute', 'payment_intent_id', 'Its payment intent.'),
      ('stripe_dispute', 'status', 'Status, as Stripe says it.'),
      ('stripe_dispute', 'amount', 'Amount in minor units.'),
      ('stripe_dispute', 'currency', 'Currency, lower case.'),
      ('stripe_dispute', 'reason', 'Reason the cardholder gave.'),
      ('stripe_dispute', 'evidence_due_at', 'Until when evidence is taken.'),
      ('stripe_subscription_schedule', 'customer_id', 'Stripe customer it belongs to.'),
      ('stripe_subscription_schedule', 'subscription_id', 'Subscription it drives.'),
      ('stripe_subscription_schedule', 'status', 'Status, as Stripe says it.'),
      ('stripe_subscription_schedule', 'end_behavior', 'What follows its last phase.'),
      ('stripe_subscription_schedule', 'phase_start', 'Start of the running phase.'),
      ('stripe_subscription_schedule', 'phase_end', 'End of the running phase.'),
      ('stripe_subscription_schedule', 'phases', 'Its phases as JSON.'),
      ('stripe_promotion_code', 'code', 'What the customer types.'),
      ('stripe_promotion_code', 'coupon_id', 'Coupon it gives.'),
      ('stripe_promotion_code', 'customer_id', 'The only customer who may use it.'),
      ('stripe_promotion_code', 'active', 'Can it be used?'),
      ('stripe_promotion_code', 'expires_at', 'When it ends.'),
      ('stripe_promotion_code', 'times_redeemed', 'How often it was used.')
    ) v(view, col, words)
    JOIN pg_class k ON k.relname LIKE 'stripe\_%' AND k.relname LIKE v.view
      AND k.relnamespace = 'psync_bi'::regnamespace
    JOIN pg_attribute a ON a.attrelid = k.oid AND a.attname = v.col
  LOOP
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', r.view, r.attname, r.words);
  END LOOP;
END $$;
