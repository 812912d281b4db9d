-- Take n calls of a family. ARGV: provider, account, family, n, patience_ms. Answers 0 when
-- granted, -ms when granted for so much later (at most patience_ms, or two steps of the rate if
-- that is more), else when to ask again in ms. More than the burst are granted when the bucket is full, and then nothing is until they
-- are paid off.
local now = clock()
local acct, n = ARGV[1] .. ':' .. ARGV[2], tonumber(ARGV[4])
local closed = account_gate(acct, now)
if closed then return math.ceil(closed - now) end
local b = bucket(ARGV[1], acct, ARGV[3], now)
local need = b.burst and math.min(n, b.burst) or n
if b.closed > now then return math.ceil(b.closed - now) end
if b.free >= need then
    spend(b, n)
    return 0
end
local wait = math.max(1, math.ceil(b.tat - (b.burst - need) * b.step - now))
local patience = tonumber(ARGV[5] or 0)
-- At a rate that was lowered one step may take longer; a job of several calls is to end all the
-- same, rather than begin again each time.
if patience > 0 then patience = math.max(patience, math.ceil(2 * b.step)) end
if wait > patience then return wait end
-- In line: whoever asks later, a claim too, comes after it.
spend(b, n)
return -wait
