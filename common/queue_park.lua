-- Take a connection out of the ring, its queue kept. ARGV: connection, reason.
local now = clock()
call('HSET', K .. 'c:' .. ARGV[1], 'pk', ARGV[2])
call('SADD', K .. 'cs', ARGV[1])
touched[ARGV[1]] = true
done(now)
return 1
