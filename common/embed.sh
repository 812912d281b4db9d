#!/bin/sh
# embed.sh TABLE PREFIX FILE... prints a C file that holds each file as bytes, listed in TABLE by
# its path less PREFIX: Lua scripts, SQL steps and the admin page need no path at run time.
set -eu
table=$1 prefix=$2
shift 2
printf '#include "common/embedded.h"\n\nextern const struct embedded %s[];\n\n' "$table"
n=0
for f in "$@"; do
    printf '__asm__(".section .rodata\\nembedded_%d:\\n.incbin \\"%s\\"\\nembedded_%d_end:\\n.byte 0\\n.previous\\n");\n' "$n" "$f" "$n"
    printf 'extern const char embedded_%d[], embedded_%d_end[];\n' "$n" "$n"
    n=$((n + 1))
done
printf '\nconst struct embedded %s[] = {\n' "$table"
n=0
for f in "$@"; do
    printf '    {"%s", embedded_%d, embedded_%d_end},\n' "${f#"$prefix"}" "$n" "$n"
    n=$((n + 1))
done
printf '    {0, 0, 0},\n};\n'
