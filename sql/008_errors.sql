-- "Errors only" of a whole workspace: its first page by the newest attempts that did not end
-- well, whatever else is in the log. (attempt_error serves one connection.)
CREATE INDEX attempt_errors ON psync.attempt (attempt_id DESC)
  WHERE status IN ('failed', 'partial', 'retrying');
