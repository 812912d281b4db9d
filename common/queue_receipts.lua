-- Read and remove receipts. ARGV: most.
local ids, out = {}, {}
for i, e in ipairs(call('XRANGE', K .. 'receipts', '-', '+', 'COUNT', ARGV[1])) do
    ids[i], out[i] = e[1], e[2][2]
end
if #ids > 0 then call('XDEL', K .. 'receipts', unpack(ids)) end
return out
