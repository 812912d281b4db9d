-- What is mirrored of Stripe may be narrowed to products or lookup keys.
ALTER TABLE psync.connection DROP CONSTRAINT connection_scope_kind_check,
  ADD CONSTRAINT connection_scope_kind_check
    CHECK (scope_kind IN ('list', 'stage', 'pipeline', 'product', 'lookup_key'));
