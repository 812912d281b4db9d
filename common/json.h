/* JSON without a tree where only its parts are wanted, and jansson with limits where a tree is.
 *
 * A page of a provider holds up to hundreds of records that are stored as they came. So the
 * scanner cuts it into slices of the text and looks no closer: what jansson refuses in one
 * record (\u0000, a lone surrogate, an integer beyond 64 bits) fails that record only, when it
 * is read. Brackets must balance and strings must end, so a truncated page is refused whole.
 *
 * Names start with json_ as jansson's do; none is jansson's. */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include "common/buf.h"
#include "common/err.h"

#include <jansson.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 64 }; /* open brackets, the outermost included */

struct json_member {
    struct slice name; /* as written, without the quotes */
    struct slice value;
};

/* Slices lent of the text that was split. */
struct json_split {
    struct json_member *members; /* of the outermost object, the array among them */
    size_t member_count;
    struct slice *elements; /* of the array */
    size_t element_count;
    bool found; /* the array was there */
};

/**
 * Cut text into the elements of the array that is the member named array of the outermost
 * object; array NULL: the text itself is the array. One pass.
 *
 * A member of that name that is no array, or none: found is false, members tell.
 * Returns 0 and out to be released, or -1 with err set (out is empty):
 *   ERR_INVALID  no JSON, truncated, or deeper than JSON_DEPTH_MAX; the message has the offset
 *   ERR_NOMEM
 */
int json_split(struct slice text, const char *array, struct json_split *out, struct err *err)
    MUST_USE;
void json_split_release(struct json_split *s);
/** A member by name; its bytes are NULL when there is none. The last of several wins. */
struct slice json_split_member(const struct json_split *s, const char *name);

/* Steps through the members of an object or the elements of an array. */
struct json_walk {
    const char *start, *at, *end;
    char close; /* '}' or ']' */
    bool first;
};

/** Begin; -1 when text is neither object nor array. */
int json_walk_begin(struct json_walk *w, struct slice text) MUST_USE;
/** The next one: 1; 0 at the end; -1 when the text is broken. name is empty in an array. */
int json_walk_next(struct json_walk *w, struct json_member *out) MUST_USE;

/** The raw value of a member of the object text; bytes NULL when absent or text is broken. */
struct slice json_member(struct slice text, const char *name);
/** Several in one pass: values[i] for names[i]. -1 when text is no whole object. */
int json_members(struct slice text, const char *const *names, struct slice *values,
                 size_t count) MUST_USE;

/* Scalars of a raw value. Each returns false for a value of another type. */
/** A string, decoded and NUL-terminated; false too when it does not fit or holds \u0000,
 * a lone surrogate or invalid UTF-8. */
bool json_slice_text(struct slice value, char *out, size_t out_bytes) MUST_USE;
bool json_slice_int(struct slice value, int64_t *out) MUST_USE;
bool json_slice_bool(struct slice value, bool *out) MUST_USE;
/** True for null and for a slice that is not there. */
bool json_slice_null(struct slice value);

/**
 * The tree of a text, with the depth limited as above; an object, array or scalar.
 * Returns a value that the caller owns (json_decref, or json_auto_t), or NULL with err set:
 *   ERR_INVALID  jansson's reason and position
 *   ERR_NOMEM
 */
json_t *json_parse(struct slice text, struct err *err) MUST_USE;

/* Typed reads of a tree. object may be NULL or no object: as if the member were absent. */
/** The text of a member, lent; NULL when absent or no string. */
const char *json_text_of(const json_t *object, const char *name);
/** An integer member, or a string of digits (providers send both); fallback when neither. */
int64_t json_int_of(const json_t *object, const char *name, int64_t fallback);
/** A boolean member, or the string "true" or "false". */
bool json_bool_of(const json_t *object, const char *name, bool fallback);

/** Append value (which becomes the list's) to *list. When memory runs out *list is freed and
 * NULL, which further calls leave so: an array of jansson that could not grow counts room it
 * did not get, and must not be used again. */
void json_list_add(json_t **list, json_t *value);

/** Copy s without the blanks between its values into out (room for s.len_bytes); returns how
 * many bytes. The same value in another indentation gives the same bytes. */
size_t json_squeeze(struct slice s, char *out);

/** Append s as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD; every control
 * character is escaped, so the text is safe on a terminal and on one line. */
int json_add_text(struct buf *out, struct slice s);

#endif
