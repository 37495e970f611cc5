// SPDX-License-Identifier: BSD-3-Clause
/*
 * The QMP client, whatever bytes come: values of any shape cut anywhere, a monitor
 * that hangs up or says what is no answer, messages that nest too deep or do not end.
 */
#include "unit-qmp.h"

/* A value that nests and whose strings are full of what frames messages. */
static json_t *random_value(unsigned depth)
{
    static const char alphabet[] = "{}[]\"\\,: \n\tab";
    char text[12] = "";
    json_t *value;
    switch (unit_below(depth ? 5 : 3)) {
    case 0:
        return json_integer((json_int_t)unit_below(1000));
    case 1:
        return json_boolean(unit_below(2));
    case 2:
        for (size_t i = 0, n = unit_below(sizeof text); i < n; i++)
            text[i] = alphabet[unit_below(sizeof alphabet - 1)];
        return json_string(text);
    case 3:
        value = json_array();
        for (size_t n = unit_below(4); n; n--)
            json_array_append_new(value, random_value(depth - 1));
        return value;
    default:
        value = json_object();
        for (char key[] = "a"; key[0] < 'a' + 3; key[0]++)
            json_object_set_new(value, key, random_value(depth - 1));
        return value;
    }
}

/* Values come back as they were, however they are printed and cut into writes, with events between. */
START_TEST(random_streams)
{
    for (unsigned round = 0; round < 200; round++) {
        size_t format = JSON_INDENT(unit_below(5)) | (unit_below(2) ? JSON_COMPACT : 0) | (unit_below(2) ? JSON_ENSURE_ASCII : 0);
        json_t *value = random_value(4);
        json_t *answer = json_pack("{s:O, s:i}", "return", value, "id", 2), *event = json_pack("{s:s, s:o}", "event", "E", "data", random_value(3));
        char *answer_text = json_dumps(answer, format), *event_text = json_dumps(event, format);
        SCRIPT(GREETING, "<", RETURN, "<", unit_below(2) ? event_text : "", answer_text, unit_below(2) ? event_text : "");
        fake.piece = unit_below(3);
        struct qmp *qmp = opened();
        json_t *result = NULL;
        OK(qmp_call(qmp, "x", NULL, &result, LONG_MS, &unit_err));
        ck_assert(json_equal(result, value));
        fake_end(&qmp);
        json_decref(result);
        json_decref(value);
        json_decref(answer);
        json_decref(event);
        free(answer_text);
        free(event_text);
    }
}
END_TEST

/* It hangs up after each byte of a conversation: what was whole before is taken, nothing else is. */
START_TEST(hangs_up_at_every_byte)
{
    static const char answer[] = "{\"return\": {}, \"id\": 1}\r\n";
    size_t open_bytes = sizeof GREETING - 1 + sizeof answer - 1 - 2, all_bytes = open_bytes + 2 + sizeof SHUTDOWN - 1 + sizeof answer - 1 - 2;
    for (size_t cut = 0; cut <= all_bytes; cut++) {
        struct qmp *qmp = NULL;
        SCRIPT(GREETING, "<", RETURN, "<", SHUTDOWN, RETURN);
        fake.cut = cut;
        fake.hang_up = true;
        fake_go();
        if (cut < open_bytes) {
            FAILS(-ECONNRESET, qmp_open(path, LONG_MS, &qmp, &unit_err));
            ck_assert_ptr_null(qmp);
        } else {
            OK(qmp_open(path, LONG_MS, &qmp, &unit_err));
            if (cut < all_bytes)
                FAILS(-ECONNRESET, qmp_call(qmp, "x", NULL, NULL, LONG_MS, &unit_err));
            else
                OK(qmp_call(qmp, "x", NULL, NULL, LONG_MS, &unit_err));
            FAILS(-ECONNRESET, qmp_call(qmp, "y", NULL, NULL, LONG_MS, &unit_err));
            ck_assert(!qmp_is_usable(qmp));
        }
        fake_end(&qmp);
    }
}
END_TEST

/* As the greeting, and as the answer to a command. */
START_TEST(garbage)
{
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH_9.2p1\r\n", "\"QMP\"", "}", "]", "[]", "[{\"QMP\": {}}]", "{\"QMP\": 1}", "{]", "{\"QMP\": {]}", "{\"QMP\" {}}",
        "{\"QMP\": \"\xff\"}", "{\"return\": {}}", "{\"return\": {}, \"id\": \"1\"}", "{\"id\": $}", "{\"error\": 1, \"id\": $}", "{}", "\x16\x03\x01",
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}", "{\"return\": {}, \"id\": 77}", "{\"return\": 9223372036854775808, \"id\": $}",
    };
    struct qmp *qmp = NULL;
    SCRIPT(texts[_i]);
    fake_go();
    FAILS(-EPROTO, qmp_open(path, LONG_MS, &qmp, &unit_err));
    fake_end(&qmp);

    SCRIPT(GREETING, "<", RETURN, "<", texts[_i]);
    qmp = opened();
    FAILS(-EPROTO, qmp_call(qmp, "x", NULL, NULL, LONG_MS, &unit_err));
    FAILS(-ECONNRESET, qmp_call(qmp, "x", NULL, NULL, LONG_MS, &unit_err));
    ck_assert_uint_eq(json_array_size(fake.commands), 2);
    fake_end(&qmp);
}
END_TEST

START_TEST(nested_too_deep)
{
    static char text[20001];
    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    struct qmp *qmp = NULL;
    SCRIPT(text);
    fake_go();
    FAILS(-EPROTO, qmp_open(path, LONG_MS, &qmp, &unit_err));
    fake_end(&qmp);
}
END_TEST

START_TEST(a_message_without_an_end)
{
    SCRIPT(GREETING, "<", RETURN, "<", "*");
    struct qmp *qmp = opened();
    FAILS(-EPROTO, qmp_call(qmp, "x", NULL, NULL, LONG_MS, &unit_err));
    fake_end(&qmp);
    ck_assert_uint_gt(fake.sent, QMP_MESSAGE_BYTES);
    ck_assert_uint_lt(fake.sent, QMP_MESSAGE_BYTES + (4 << 20));
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "whatever comes");
    tcase_add_test(tc, random_streams);
    tcase_add_test(tc, hangs_up_at_every_byte);
    tcase_add_loop_test(tc, garbage, 0, 20);
    tcase_add_test(tc, nested_too_deep);
    tcase_add_test(tc, a_message_without_an_end);
}

UNIT_MAIN("qmp-stream", add_cases)
