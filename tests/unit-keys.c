// SPDX-License-Identifier: BSD-3-Clause
/* Keys, roles and the text of certificates: what is read, what is refused, and that no error tells a secret. */
#include <zmq.h>

#include "unit-keys.h"

static char secret[KEY_TEXT_BYTES];

/* From a block of just that size, so that a sanitizer sees a byte too many. */
static int parse(const char *text, size_t n)
{
    char *exact = malloc(n ? n : 1);
    memcpy(exact, text, n);
    memset(&certificate, 'x', sizeof certificate);
    memset(secret, 'x', sizeof secret);
    int r = keys_parse(exact, n, &certificate, secret, &unit_err);
    free(exact);
    return r;
}

static void refused_text(const char *text, size_t n, int code, const char *why)
{
    FAILS(code, parse(text, n));
    ck_assert_msg(strstr(unit_err.message, why), "'%s' is not in '%s' of: %s", why, unit_err.message, text);
    ck_assert_str_eq(certificate.public_key, "");
    ck_assert_uint_eq(certificate.roles, 0);
    ck_assert_str_eq(secret, "");
    tells_no_secret();
}

/* ---------------------------------------------------------------- keys */

START_TEST(keys_are_checked)
{
    ck_assert(key_is_valid(PUBLIC));
    ck_assert(key_is_valid(ZEROES));
    ck_assert(!key_is_valid(""));
    ck_assert(!key_is_valid(PUBLIC "0"));
    ck_assert(!key_is_valid(PUBLIC "00000"));
    ck_assert(!key_is_valid("00000"));
    ck_assert(!key_is_valid(&PUBLIC[1]));
    ck_assert(!key_is_valid("\"ne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"));
    ck_assert(!key_is_valid("\x80ne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"));
    ck_assert(!key_is_valid("#####0000000000000000000000000000000000"));
    ck_assert(!key_is_valid("#####00000000000000000000000000000000000"));    /* more than 32 bits */
}
END_TEST

START_TEST(keys_are_made_and_forgotten)
{
    struct key_pair a, b, nothing = { 0 };
    char derived[KEY_TEXT_BYTES];
    OK(keys_generate(&a, &unit_err));
    OK(keys_generate(&b, &unit_err));
    ck_assert(key_is_valid(a.public_key) && key_is_valid(a.secret_key));
    ck_assert_str_ne(a.secret_key, b.secret_key);
    ck_assert_int_eq(zmq_curve_public(derived, a.secret_key), 0);
    ck_assert_str_eq(derived, a.public_key);
    keys_forget(&a);
    ck_assert_mem_eq(&a, &nothing, sizeof a);
}
END_TEST

START_TEST(roles_have_names)
{
    static const struct {
        const char *text, *names;
        unsigned roles;
    } good[] = {
        { "", "", 0 },
        { " \t,, ", "", 0 },
        { "peer", "peer", KEY_PEER },
        { "monitor,peer", "peer monitor", KEY_PEER | KEY_MONITOR },
        { "  monitor \t orchestrator ,, peer peer", "orchestrator peer monitor", KEY_ORCHESTRATOR | KEY_PEER | KEY_MONITOR },
    };
    static const char *const bad[] = { "Peer", "peers", "pee", "peer;monitor", "peer\nmonitor", "all" };
    char text[KEY_ROLES_BYTES];
    unsigned roles;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        roles = 99;
        OK(key_roles_parse(good[i].text, &roles, &unit_err));
        ck_assert_uint_eq(roles, good[i].roles);
        ck_assert_str_eq(key_roles_format(roles, text), good[i].names);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        roles = 99;
        FAILS(-EINVAL, key_roles_parse(bad[i], &roles, &unit_err));
        ck_assert_uint_eq(roles, 99);
    }
    FAILS(-EINVAL, key_roles_parse("monitor guest", &roles, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "'guest'"));
}
END_TEST

/* ---------------------------------------------------------------- text */

START_TEST(texts_that_are_read)
{
    static const struct {
        const char *text;
        unsigned roles;
        bool secret;
    } good[] = {
        { czmq_public, KEY_MONITOR, false },
        { czmq_secret, 0, true },
        { CURVE, 0, false },
        { "curve\n    public-key = \"" PUBLIC "\"", 0, false },                     /* no line end */
        { "curve\n    public-key='" PUBLIC "'\n", 0, false },
        { "curve\n    public-key = " PUBLIC " # without quotes\n", 0, false },
        { "curve # a comment\n    public-key\t=\t\"" PUBLIC "\"\t# another\n", 0, false },
        { "curve  \n\n    \n  # a comment\n\t#\n    public-key = \"" PUBLIC "\"#\n", 0, false },
        { "curve\r\n    public-key = \"" PUBLIC "\"\r\nmetadata\r\n    roles = \"peer\"\r\n", KEY_PEER, false },
        { BOTH "metadata\n    roles = peer, monitor  # both\n", KEY_PEER | KEY_MONITOR, true },
        { CURVE "metadata\n    name = \"Zo\xc3\xab\"\n    name = twice\n    empty\n    $-_@.&+/x = \"\"\n    roles =\n", 0, false },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        OK(parse(good[i].text, strlen(good[i].text)));
        ck_assert_str_eq(certificate.public_key, PUBLIC);
        ck_assert_uint_eq(certificate.roles, good[i].roles);
        ck_assert_str_eq(secret, good[i].secret ? SECRET : "");
    }
}
END_TEST

START_TEST(texts_that_are_refused)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        { "", "no public key" },
        { "metadata\n    roles = \"peer\"\n", "no public key" },
        { "curve\n    secret-key = \"" SECRET "\"\n", "no public key" },
        { "public-key = \"" PUBLIC "\"\n", "line 1 of the certificate is none of the sections" },
        { "    public-key = \"" PUBLIC "\"\n", "line 1 of the certificate is indented" },
        { "curve\n  public-key = \"" PUBLIC "\"\n", "line 2 of the certificate is not indented by 0 or 4" },
        { "curve\n        public-key = \"" PUBLIC "\"\n", "line 2 of the certificate is not indented" },
        { "curve\n\tpublic-key = \"" PUBLIC "\"\n", "line 2 of the certificate is not indented" },
        { "curve\n    \tpublic-key = \"" PUBLIC "\"\n", "line 2 of the certificate is not indented" },
        { "curve = \"x\"\n", "none of the sections" },
        { CURVE "other\n", "line 3 of the certificate is none of the sections" },
        { CURVE CURVE, "line 3 of the certificate has a section for the second time" },
        { CURVE "    public-key = \"" PUBLIC "\"\n", "line 3 of the certificate has a key for the second time" },
        { BOTH "    secret-key = \"" SECRET "\"\n", "line 4 of the certificate has a key for the second time" },
        { CURVE "    secret-kex = \"" SECRET "\"\n", "neither 'public-key' nor 'secret-key'" },
        { CURVE "    " SECRET "\n", "neither a section" },
        { CURVE "    secret-key \"" SECRET "\"\n", "neither a section" },
        { CURVE "    = \"" SECRET "\"\n", "neither a section" },
        { CURVE "    secret-key = \"" SECRET "\n", "line 3 of the certificate has a value whose quote is not closed" },
        { CURVE "    secret-key = \"" SECRET "'\n", "quote is not closed" },
        { CURVE "    secret-key = \"" SECRET "\" x\n", "something behind its value" },
        { CURVE "    secret-key = \"" SECRET SECRET "\"\n", "40 characters of Z85" },
        { CURVE "    secret-key = \" " SECRET "\"\n", "40 characters of Z85" },
        { CURVE "    secret-key = \"" ZEROES "\"\n", "a key of zeroes" },
        { CURVE "    secret-key\n", "40 characters of Z85" },
        { CURVE "    secret-key =\n", "40 characters of Z85" },
        { "curve\n    public-key = \"" ZEROES "\"\n", "a key of zeroes" },
        { "curve\n    public-key = 0#########0123456789012345678901234567890\n", "40 characters of Z85" },
        { CURVE "metadata\n    roles = \"" SECRET "\"\n", "a role that is none" },
        { CURVE "metadata\n    roles = \"peer\"\n    roles = \"peer\"\n", "line 5 of the certificate has 'roles' for the second time" },
        { CURVE "metadata\n    name = \"a\x1b[0m\"\n", "line 4 of the certificate has a control character" },
        { CURVE "# \x7f\n", "line 3 of the certificate has a control character" },
        { "curve\r    public-key = \"" PUBLIC "\"\n", "line 1 of the certificate has a control character" },
        { "\xef\xbb\xbf" CURVE, "line 1 of the certificate is neither a section" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused_text(bad[i].text, strlen(bad[i].text), -EINVAL, bad[i].why);
    refused_text(CURVE "\0", sizeof CURVE, -EINVAL, "line 3 of the certificate has a control character");
}
END_TEST

START_TEST(texts_have_limits)
{
    static char text[KEY_FILE_BYTES + 2];
    size_t n = sizeof CURVE - 1;
    memcpy(text, CURVE, n);
    memset(text + n, '\n', sizeof text - n);
    OK(parse(text, KEY_FILE_BYTES));
    refused_text(text, KEY_FILE_BYTES + 1, -EFBIG, "65537 bytes: 65536 are possible");
    memset(text + n, '#', KEY_LINE_BYTES);
    OK(parse(text, KEY_FILE_BYTES));
    text[n + KEY_LINE_BYTES] = '#';
    refused_text(text, KEY_FILE_BYTES, -EINVAL, "line 3 of the certificate is too long: 1024 bytes");
}
END_TEST

/* Bytes changed, doubled, left out, cut off: read as a whole or refused, and never told. */
START_TEST(damaged_texts)
{
    static const char interesting[] = "\n\r\t\"'#=  \0curve";
    for (unsigned round = 0; round < 20000; round++) {
        char text[sizeof czmq_secret + 8];
        size_t n = sizeof czmq_secret - 1;
        memcpy(text, czmq_secret, n);
        for (uint64_t i = 0, changes = 1 + unit_below(3); i < changes; i++) {
            size_t at = unit_below(n), end = unit_below(8) ? n : at;
            switch (unit_below(3)) {
            case 0: text[at] = unit_below(2) ? interesting[unit_below(sizeof interesting)] : (char)unit_below(256); break;
            case 1: memmove(text + at, text + at + 1, n - at - 1), end = end == n ? n - 1 : end; break;
            case 2: memmove(text + at + 1, text + at, n - at), end = end == n ? n + 1 : end; break;
            }
            n = end ? end : 1;
        }
        memset(&unit_err, 0, sizeof unit_err);
        if (parse(text, n) == 0) {
            ck_assert(key_is_valid(certificate.public_key));
            ck_assert(!*secret || key_is_valid(secret));
        } else {
            ck_assert_str_eq(certificate.public_key, "");
            ck_assert_str_eq(secret, "");
            tells_no_secret();
        }
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "keys");
    tcase_add_test(tc, keys_are_checked);
    tcase_add_test(tc, keys_are_made_and_forgotten);
    tcase_add_test(tc, roles_have_names);
    tc = unit_case(suite, "text");
    tcase_add_test(tc, texts_that_are_read);
    tcase_add_test(tc, texts_that_are_refused);
    tcase_add_test(tc, texts_have_limits);
    tcase_add_test(tc, damaged_texts);
}

UNIT_MAIN("keys", add_cases)
