-- One unit, wherever it is. ARGV: connection, unit. Answers {} or {state, lane, since, due,
-- attempts, reason}.
local c, f = ARGV[1], ARGV[2]
local raw = call('HGET', K .. 'u:' .. c, f)
if not raw then return {} end
local u = unit_read(raw)
local due = u.s == 'd' and call('ZSCORE', K .. 'd', c .. '|' .. f) or 0
return { u.s, u.l, u.t, text(num(due)), u.a, u.r }
