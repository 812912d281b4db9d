#include "provider/answer.h"

#include <stdlib.h>
#include <string.h>

enum { HINTS_MAX = 10000 };

/* A new provider is one line here and one below. */
extern const struct provider provider_hubspot;
extern const struct provider provider_stripe;

const struct provider *const providers[] = {&provider_hubspot, &provider_stripe, NULL};

const struct provider *provider_find(const char *name)
{
    for (size_t i = 0; providers[i] != NULL; i++) {
        if (strcmp(providers[i]->name, name) == 0)
            return providers[i];
    }
    return NULL;
}

const struct object_type *provider_object(const struct provider *p, const char *name)
{
    for (const struct object_type *o = p->objects; o->name != NULL; o++) {
        if (strcmp(o->name, name) == 0)
            return o;
    }
    return NULL;
}

void provider_request_id(const struct provider *p, const struct http_response *r, char *out)
{
    out[0] = '\0';
    if (http_response_header(r, p->request_id_header, out, REQUEST_ID_MAX_BYTES) != NULL &&
        !id_fits(out))
        out[0] = '\0';
}

int provider_scope_kind(const struct provider *p, const char *kind, struct err *err)
{
    size_t len = strlen(kind);
    for (const char *at = p->scope_kinds; *at != '\0';) {
        size_t n = strcspn(at, " ");
        if (n == len && strncmp(at, kind, n) == 0)
            return 0;
        at += n + (at[n] != '\0');
    }
    err_set(err, ERR_INVALID, "'%.40s' is none of what %s can be narrowed to: %s", kind,
            p->title, p->scope_kinds);
    return -1;
}

void hint_list_release(struct hint_list *l)
{
    free(l->items);
    *l = (struct hint_list){0};
}

struct hook_item *hint_list_add(struct hint_list *l)
{
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 8 : l->cap * 2;
        if (l->count >= HINTS_MAX)
            return NULL;
        struct hook_item *more = realloc(l->items, cap * sizeof *more);
        if (more == NULL)
            return NULL;
        l->items = more;
        l->cap = cap;
    }
    struct hook_item *item = &l->items[l->count++];
    memset(item, 0, sizeof *item);
    item->mode = "";
    return item;
}

void ask_state_release(struct ask_state *s)
{
    if (s->data != NULL && s->data_free != NULL)
        s->data_free(s->data);
    json_decref(s->facts);
    *s = (struct ask_state){0};
}
