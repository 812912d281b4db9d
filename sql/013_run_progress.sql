-- Waits for the limit are counted with their chunk, as calls are: the run's row, which all its
-- chunks share, is written once a second and not by each page.
ALTER TABLE psync.run_chunk ADD COLUMN throttled_ms bigint NOT NULL DEFAULT 0;
