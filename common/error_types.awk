# Makes build/<mode>/gen/gen_error_types.h of error_types.tsv: one X-macro row per error type.
# Columns: code family title provider_signal meaning user_action who_acts severity retry pauses banner
BEGIN { FS = "\t"; print "/* Generated from common/error_types.tsv; do not edit. */"; print "#define ERROR_TYPES(X) \\" }
# Letter by letter: what backslashes mean to gsub differs from one awk to the next.
function q(s,    i, c, out)
{
    for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        out = out (c == "\\" || c == "\"" ? "\\" : "") c
    }
    return "\"" out "\""
}
NR > 1 {
    up = toupper($1); banner = $11 == "" ? "none" : $11
    printf "    X(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) \\\n", up, q($1), q($2), q($3), \
        q($4), q($5), q($6), q($7), toupper($8), toupper($9), toupper($10), toupper(banner)
}
END { print "" }
