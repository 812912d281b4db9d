/* Small readable pages: a heading, a few sentences, perhaps one link. Everything in them is
 * escaped, and the browser is told to run nothing and to fetch nothing. */
#ifndef ADMIN_PAGE_H
#define ADMIN_PAGE_H

#include "common/buf.h"
#include "common/http_server.h"

struct page {
    int status;
    const char *title;     /* what happened */
    struct buf body;       /* HTML: page_text() and page_line() */
    const char *link_text; /* NULL = no link */
    struct buf link;       /* its address, not escaped */
};

void page_init(struct page *p);
void page_release(struct page *p);
/** Append text, escaped. */
void page_text(struct buf *out, const char *text);
/** Append a paragraph; what the format makes is escaped as a whole. */
void page_line(struct page *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Answer the exchange with it. */
void page_answer(struct http_exchange *x, const struct page *p);

#endif
