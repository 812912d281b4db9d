-- Who is signed in to the admin page: of a session's 256 random bits only the SHA-256 is kept.
-- Ended by signing out, by its end, or by its token being revoked.
CREATE TABLE psync.admin_session (
  session_hash bytea PRIMARY KEY,
  token_id     bigint NOT NULL REFERENCES psync.admin_token ON DELETE CASCADE,
  created_at   timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz NOT NULL
);
CREATE INDEX admin_session_end ON psync.admin_session (expires_at);
