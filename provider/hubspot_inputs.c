/* Ids still to be asked of the associations API, each with the page it goes on from. A file of
 * its own: seen together with its users, gcc's analyzer takes the array for leaked. */
#include "provider/hubspot_priv.h"

#include <stdlib.h>
#include <string.h>

int hs_inputs_add(struct hs_inputs *l, const char *id, const char *after)
{
    if (id[0] == '\0' || id[strspn(id, "0123456789")] != '\0' ||
        strlen(id) >= sizeof l->items->id || strlen(after) >= sizeof l->items->after)
        return -1;
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;
        struct hs_input *more = realloc(l->items, cap * sizeof *more);
        if (more == NULL)
            return -1;
        l->items = more;
        l->cap = cap;
    }
    struct hs_input *i = &l->items[l->count++];
    (void)text_copy(i->id, sizeof i->id, id);
    (void)text_copy(i->after, sizeof i->after, after);
    return 0;
}

void hs_inputs_drop(struct hs_inputs *l, size_t n)
{
    n = n < l->count ? n : l->count;
    l->count -= n;
    if (l->count > 0)
        memmove(l->items, l->items + n, l->count * sizeof *l->items);
}
