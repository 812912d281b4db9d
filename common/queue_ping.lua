-- Can be written? Answers the routes version and the clock; ARGV: 1 raises it first.
local now = clock()
if ARGV[1] == '1' then return {call('INCR', K .. 'routes'), text(now)} end
call('SET', K .. 'ping', now)
return {num(call('GET', K .. 'routes')), text(now)}
