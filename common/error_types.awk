# Makes build/<mode>/gen/gen_error_types.h of error_types.tsv: one X-macro row per error type.
# Columns: code family title provider_signal meaning user_action who_acts severity retry pauses banner
BEGIN { FS = "\t"; print "/* Generated from common/error_types.tsv; do not edit. */"; print "#define ERROR_TYPES(X) \\" }
function q(s) { gsub(/\\/, "\\\\\\\\", s); gsub(/"/, "\\\"", s); return "\"" s "\"" }
NR > 1 {
    up = toupper($1); banner = $11 == "" ? "none" : $11
    printf "    X(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) \\\n", up, q($1), q($2), q($3), \
        q($4), q($5), q($6), q($7), toupper($8), toupper($9), toupper($10), toupper(banner)
}
END { print "" }
