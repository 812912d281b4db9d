-- Read and remove receipts. ARGV: most. An entry may hold several: of the last one what is too many
-- goes back.
local left, ids, out, rest = tonumber(ARGV[1]), {}, {}, {}
for i, e in ipairs(call('XRANGE', K .. 'receipts', '-', '+', 'COUNT', left)) do
    if left == 0 then break end
    ids[i] = e[1]
    for k = 2, #e[2], 2 do
        if left > 0 then
            out[#out + 1] = e[2][k]
            left = left - 1
        else
            rest[#rest + 1] = 'j'
            rest[#rest + 1] = e[2][k]
        end
    end
end
if #ids > 0 then call('XDEL', K .. 'receipts', unpack(ids)) end
if #rest > 0 then call('XADD', K .. 'receipts', '*', unpack(rest)) end
return out
