#include "admin/page.h"

#include "common/sign.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PAGE_MAX_BYTES = 64 * 1024,
    HTML_MAX_BYTES = 128 * 1024,
    LINE_MAX_BYTES = 2048,
    POLICY_MAX_BYTES = 512
};

static const char style[] =
    "body{font:1.05rem/1.5 system-ui,sans-serif;margin:0;color:#1c2330;background:#f6f7f9}"
    "main{max-width:38rem;margin:4rem auto;padding:1.5rem 2rem;background:#fff;"
    "border:1px solid #d8dce3;border-radius:.5rem}"
    "h1{font-size:1.4rem;margin:0 0 1rem}a{color:#0b57d0}"
    "@media(prefers-color-scheme:dark){body{color:#e6e9ef;background:#14171c}"
    "main{background:#1d2128;border-color:#363c47}a{color:#8ab4f8}}";

void page_init(struct page *p)
{
    *p = (struct page){.status = 200, .title = ""};
    buf_init(&p->body, PAGE_MAX_BYTES);
    buf_init(&p->link, LINE_MAX_BYTES);
}

void page_release(struct page *p)
{
    buf_release(&p->body);
    buf_release(&p->link);
}

void page_text(struct buf *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        const char *entity = *c == '<'    ? "&lt;"
                             : *c == '>'  ? "&gt;"
                             : *c == '&'  ? "&amp;"
                             : *c == '"'  ? "&quot;"
                             : *c == '\'' ? "&#39;"
                                          : NULL;
        if (entity != NULL) {
            (void)buf_add_str(out, entity);
        } else {
            (void)buf_add_char(out, *c);
        }
    }
}

void page_line(struct page *p, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)buf_add_str(&p->body, "<p>");
    page_text(&p->body, text);
    (void)buf_add_str(&p->body, "</p>\n");
}

/* Only our own style, by its hash. */
static void add_policy(struct http_exchange *x)
{
    unsigned char hash[SIGN_SHA256_BYTES];
    struct buf policy;
    buf_init(&policy, POLICY_MAX_BYTES);
    sign_sha256(slice_of(style), hash);
    (void)buf_add_str(&policy, "default-src 'none'; style-src 'sha256-");
    (void)sign_base64(&policy, (struct slice){(const char *)hash, sizeof hash});
    (void)buf_add_str(&policy,
                      "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    (void)http_exchange_set_header(x, "Content-Security-Policy", buf_text(&policy));
    buf_release(&policy);
}

void page_answer(struct http_exchange *x, const struct page *p)
{
    struct buf html;
    buf_init(&html, HTML_MAX_BYTES);
    (void)buf_add_str(&html,
                      "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    page_text(&html, p->title);
    (void)buf_printf(&html, "</title>\n<style>%s</style></head>\n<body><main>\n<h1>", style);
    page_text(&html, p->title);
    (void)buf_add_str(&html, "</h1>\n");
    (void)buf_add_str(&html, buf_text(&p->body));
    if (p->link_text != NULL && p->link.len_bytes > 0) {
        (void)buf_add_str(&html, "<p><a href=\"");
        page_text(&html, buf_text(&p->link));
        (void)buf_add_str(&html, "\">");
        page_text(&html, p->link_text);
        (void)buf_add_str(&html, "</a></p>\n");
    }
    (void)buf_add_str(&html, "</main></body>\n</html>\n");
    add_policy(x);
    (void)http_exchange_set_header(x, "X-Content-Type-Options", "nosniff");
    (void)http_exchange_set_header(x, "Referrer-Policy", "no-referrer");
    (void)http_exchange_set_header(x, "Cache-Control", "no-store");
    if (html.failed || p->body.failed) {
        http_answer_text(x, 500, "out of memory\n");
    } else {
        http_answer(x, p->status, "text/html; charset=utf-8", buf_text(&html), html.len_bytes);
    }
    buf_release(&html);
}
