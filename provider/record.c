#include "provider/record.h"

#include "common/json.h"
#include "common/sign.h"

#include <stdlib.h>
#include <string.h>

void record_list_init(struct record_list *l)
{
    *l = (struct record_list){.total = -1};
}

void record_list_release(struct record_list *l)
{
    for (size_t i = 0; i < l->body_count; i++)
        buf_release(&l->bodies[i]);
    free(l->bodies);
    free(l->records);
    free(l->cursor);
    record_list_init(l);
}

const char *record_list_keep(struct record_list *l, struct buf *body)
{
    struct buf *more = realloc(l->bodies, (l->body_count + 1) * sizeof *more);
    if (more == NULL)
        return NULL;
    l->bodies = more;
    struct buf *kept = &l->bodies[l->body_count++];
    *kept = *body;
    buf_init(body, kept->max_bytes);
    return buf_text(kept);
}

struct record *record_list_add(struct record_list *l)
{
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 32 : l->cap * 2;
        struct record *more = realloc(l->records, cap * sizeof *more);
        if (more == NULL)
            return NULL;
        l->records = more;
        l->cap = cap;
    }
    struct record *r = &l->records[l->count++];
    memset(r, 0, sizeof *r);
    r->failure.wait_ms = -1;
    return r;
}

void record_set_raw(struct record *r, struct slice raw)
{
    _Static_assert((int)RECORD_HASH_BYTES == (int)SIGN_HASH128_BYTES, "the hash of a record");
    r->raw = raw;
    /* A page indents its records deeper than a read of one does. */
    char *squeezed = malloc(raw.len_bytes + 1);
    if (squeezed == NULL) { /* another hash costs a write, no more */
        sign_hash128(raw, r->hash);
        return;
    }
    sign_hash128((struct slice){squeezed, json_squeeze(raw, squeezed)}, r->hash);
    free(squeezed);
}
