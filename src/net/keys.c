// SPDX-License-Identifier: BSD-3-Clause
/*
 * Keys and certificates as text; keyfile.c has the files.
 *
 * The text is ZPL (rfc.zeromq.org/spec:4) as czmq's zcert and pyzmq write it, and
 * is read more strictly than they do: only the sections and keys of a certificate,
 * each once.  What else `metadata` has is for people and passed over.
 *
 * Nothing of a text is quoted in an error: after a slip of the editor a secret may
 * stand anywhere in it.  Every buffer that may hold one is overwritten.
 */
#include "net/keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <zmq.h>

#include "base/error.h"

static const char blanks[] = " \t";

/* ---------------------------------------------------------------- keys */

int keys_generate(struct key_pair *pair, struct df_error *err)
{
    if (zmq_curve_keypair(pair->public_key, pair->secret_key) == 0)
        return 0;
    int code = -errno;
    keys_forget(pair);
    if (code == -ENOTSUP)
        return error_set(err, code, "cannot make a key pair: this libzmq was built without CURVE, install one that has it");
    return error_errno(err, code, "cannot make a key pair");
}

void keys_forget(struct key_pair *pair)
{
    explicit_bzero(pair, sizeof *pair);
}

bool key_is_valid(const char *text)
{
    uint8_t key[32];
    bool valid = strnlen(text, KEY_TEXT_BYTES) == KEY_TEXT_BYTES - 1 && zmq_z85_decode(key, text);
    explicit_bzero(key, sizeof key);
    return valid;
}

/* --------------------------------------------------------------- roles */

static const struct {
    unsigned role;
    const char *name;
} role_names[] = {
    { KEY_ORCHESTRATOR, "orchestrator" },
    { KEY_PEER, "peer" },
    { KEY_MONITOR, "monitor" },
};

#define NROLES (sizeof role_names / sizeof *role_names)

const char *key_roles_format(unsigned roles, char text[KEY_ROLES_BYTES])
{
    size_t n = 0;
    *text = 0;
    for (size_t i = 0; i < NROLES; i++)
        if (roles & role_names[i].role)
            n += (size_t)snprintf(text + n, KEY_ROLES_BYTES - n, "%s%s", n ? " " : "", role_names[i].name);
    return text;
}

/* Bytes of a text that is not ended by a zero byte. */
struct span {
    const char *at;
    size_t n;
};

static bool span_is(struct span span, const char *word)
{
    return span.n == strlen(word) && !memcmp(span.at, word, span.n);
}

/* How many bytes from the beginning are of `set`, or are not. */
static size_t span_count(struct span span, const char *set, bool of_set)
{
    size_t n = 0;
    while (n < span.n && (memchr(set, span.at[n], strlen(set)) != NULL) == of_set)
        n++;
    return n;
}

/* What is not there has no place either: at is NULL, and n then 0. */
static struct span span_behind(struct span span, size_t n)
{
    return n ? (struct span){ span.at + n, span.n - n } : span;
}

static struct span span_skip(struct span span, const char *set)
{
    return span_behind(span, span_count(span, set, true));
}

static struct span span_trim(struct span span)
{
    while (span.n && strchr(blanks, span.at[span.n - 1]))
        span.n--;
    return span;
}

/* False, and the word that is none. */
static bool scan_roles(struct span text, unsigned *roles, struct span *wrong)
{
    static const char separators[] = " \t,";
    unsigned found = 0;
    for (text = span_skip(text, separators); text.n; text = span_skip(text, separators)) {
        struct span word = { text.at, span_count(text, separators, false) };
        size_t i = 0;
        while (i < NROLES && !span_is(word, role_names[i].name))
            i++;
        if (i == NROLES) {
            *wrong = word;
            return false;
        }
        found |= role_names[i].role;
        text = span_behind(text, word.n);
    }
    *roles = found;
    return true;
}

int key_roles_parse(const char *text, unsigned *roles, struct df_error *err)
{
    struct span wrong;
    if (scan_roles((struct span){ text, strlen(text) }, roles, &wrong))
        return 0;
    return error_set(err, -EINVAL, "'%.*s' is no role: orchestrator, peer and monitor are", (int)(wrong.n < 64 ? wrong.n : 64), wrong.at);
}

/* -------------------------------------------------------- certificates */

enum section { SECTION_NONE, SECTION_METADATA, SECTION_CURVE, SECTIONS };

struct parser {
    unsigned line;
    enum section section;
    bool has_section[SECTIONS], has_roles;
    struct certificate certificate;
    char secret[KEY_TEXT_BYTES];
    struct df_error *err;
};

static int wrong(const struct parser *p, const char *what)
{
    return error_set(p->err, -EINVAL, "line %u of the certificate %s", p->line, what);
}

/* One between quotes may have any character but that quote; one without ends at a '#'. */
static int take_value(const struct parser *p, struct span text, struct span *value)
{
    text = span_skip(text, blanks);
    if (!text.n || (*text.at != '"' && *text.at != '\'')) {
        *value = span_trim((struct span){ text.at, span_count(text, "#", false) });
        return 0;
    }
    const char quote[] = { *text.at, 0 };
    text = span_behind(text, 1);
    *value = (struct span){ text.at, span_count(text, quote, false) };
    if (value->n == text.n)
        return wrong(p, "has a value whose quote is not closed: is the file cut off?");
    text = span_skip(span_behind(text, value->n + 1), blanks);
    return text.n && *text.at != '#' ? wrong(p, "has something behind its value: only a comment may be there") : 0;
}

/* czmq writes a key of zeroes where it has no CURVE.  Without a secret to it, everybody could pass for its owner. */
static const char null_key[] = "0000000000000000000000000000000000000000";

static int take_key(const struct parser *p, struct span value, char key[KEY_TEXT_BYTES])
{
    if (*key)
        return wrong(p, "has a key for the second time: leave one of them");
    bool fits = value.n == KEY_TEXT_BYTES - 1;
    if (fits)
        memcpy(key, value.at, value.n);
    if (!fits || !key_is_valid(key))
        return wrong(p, "has a key that is not 40 characters of Z85: was it copied whole, and is it between quotes?");
    if (!strcmp(key, null_key))
        return wrong(p, "has a key of zeroes: it was made by a program without CURVE, make another");
    return 0;
}

static int take_property(struct parser *p, struct span name, struct span value)
{
    struct span ignored;
    switch (p->section) {
    case SECTION_CURVE:
        if (span_is(name, "public-key"))
            return take_key(p, value, p->certificate.public_key);
        if (span_is(name, "secret-key"))
            return take_key(p, value, p->secret);
        return wrong(p, "is neither 'public-key' nor 'secret-key', which is what 'curve' may have");
    case SECTION_METADATA:
        if (!span_is(name, "roles"))
            return 0;
        if (p->has_roles)
            return wrong(p, "has 'roles' for the second time: leave one of them");
        p->has_roles = true;
        return scan_roles(value, &p->certificate.roles, &ignored) ? 0 : wrong(p, "has a role that is none: orchestrator, peer and monitor are");
    default:
        return wrong(p, "is indented and has no section above it");
    }
}

static int take_section(struct parser *p, struct span name, bool has_value)
{
    enum section section = span_is(name, "metadata") ? SECTION_METADATA : span_is(name, "curve") ? SECTION_CURVE : SECTION_NONE;
    if (section == SECTION_NONE || has_value)
        return wrong(p, "is none of the sections 'metadata' and 'curve'; what is in them is indented by 4 spaces");
    if (p->has_section[section])
        return wrong(p, "has a section for the second time: leave one of them");
    p->has_section[section] = true;
    p->section = section;
    return 0;
}

static int take_line(struct parser *p, struct span line)
{
    static const char name_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789$-_@.&+/";
    struct span value = { 0 };
    if (line.n > KEY_LINE_BYTES)
        return wrong(p, "is too long: 1024 bytes are possible");
    for (size_t i = 0; i < line.n; i++)
        if (((unsigned char)line.at[i] < 0x20 && line.at[i] != '\t') || line.at[i] == 0x7f)
            return wrong(p, "has a control character: is this a certificate?");
    line = span_trim(line);
    struct span text = span_skip(line, blanks);
    if (!text.n || *text.at == '#')
        return 0;
    size_t indent = line.n - text.n;
    if (indent != span_count(line, " ", true) || (indent != 0 && indent != 4))
        return wrong(p, "is not indented by 0 or 4 spaces");
    struct span name = { text.at, span_count(text, name_characters, true) };
    text = span_skip(span_behind(text, name.n), blanks);
    bool has_value = text.n && *text.at == '=';
    if (!name.n || (!has_value && text.n && *text.at != '#'))
        return wrong(p, "is neither a section nor 'name = \"value\"'");
    int r = has_value ? take_value(p, span_behind(text, 1), &value) : 0;
    if (r < 0)
        return r;
    return indent ? take_property(p, name, value) : take_section(p, name, has_value);
}

/* Editors of other systems end a line by CR LF. */
static struct span next_line(struct span *text)
{
    struct span line = { text->at, span_count(*text, "\n", false) };
    *text = span_behind(*text, line.n + (line.n < text->n));
    if (line.n && line.at[line.n - 1] == '\r')
        line.n--;
    return line;
}

int keys_parse(const char *text, size_t n, struct certificate *certificate, char secret[KEY_TEXT_BYTES], struct df_error *err)
{
    struct parser p = { .err = err };
    struct span rest = { text, n };
    int r = n <= KEY_FILE_BYTES ? 0 : error_set(err, -EFBIG, "the certificate has %zu bytes: %u are possible", n, KEY_FILE_BYTES);
    while (!r && rest.n) {
        p.line++;
        r = take_line(&p, next_line(&rest));
    }
    if (!r && !*p.certificate.public_key)
        r = error_set(err, -EINVAL, "there is no public key in it, in a section 'curve': is this a certificate?");
    if (r < 0)
        explicit_bzero(&p, sizeof p);
    *certificate = p.certificate;
    memcpy(secret, p.secret, sizeof p.secret);
    explicit_bzero(&p, sizeof p);
    return r;
}
