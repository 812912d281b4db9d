-- Connections. ARGV: "cs" those the shard knows, "uc" those never configured; cursor, count.
return call('SSCAN', K .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
