// SPDX-License-Identifier: BSD-3-Clause
/* The QMP client: what is asked and answered, and who does not answer in time. */
#include "unit-qmp.h"

#define SHORT_MS 60         /* runs out */

static const char *command_text(size_t i)
{
    static char text[65536];
    size_t n = json_dumpb(json_array_get(fake.commands, i), text, sizeof text - 1, JSON_COMPACT | JSON_SORT_KEYS);
    text[n < sizeof text ? n : 0] = 0;
    return text;
}

/* ------------------------------------------------------------------- calls */

START_TEST(a_call_has_its_result)
{
    json_t *result = NULL;
    SCRIPT(GREETING, "<", RETURN, "<", "{\"return\": [1, {\"a\": \"}\\\"{\"}], \"id\": $}\r\n", "<", RETURN);
    struct qmp *qmp = opened();
    OK(qmp_call(qmp, "query", json_pack("{s:s}", "node", "d\"0"), &result, LONG_MS, &unit_err));
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(result, 1), "a")), "}\"{");
    json_decref(result);
    OK(qmp_call(qmp, "stop", NULL, NULL, LONG_MS, &unit_err));
    ck_assert_str_eq(command_text(0), "{\"execute\":\"qmp_capabilities\",\"id\":1}");
    ck_assert_str_eq(command_text(1), "{\"arguments\":{\"node\":\"d\\\"0\"},\"execute\":\"query\",\"id\":2}");
    ck_assert_str_eq(command_text(2), "{\"execute\":\"stop\",\"id\":3}");
    fake_end(&qmp);
}
END_TEST

/* Old and new greetings, printed wide, in one write with what follows. */
START_TEST(greetings)
{
    static const char *const texts[] = {
        "{\"QMP\":{}}",
        " \n{\"QMP\": {\"capabilities\": []}}",
        "{\r\n    \"QMP\": {\r\n        \"version\": {\"package\": \"{[\\\\\"}\r\n    }\r\n}\r\n",
        GREETING "{\"return\": {}, \"id\": 1}" SHUTDOWN,
    };
    SCRIPT(texts[_i], _i == 3 ? "" : "<", _i == 3 ? "" : RETURN);
    struct qmp *qmp = opened();
    fake_end(&qmp);
}
END_TEST

START_TEST(events_are_left_out)
{
    SCRIPT(GREETING, "<", SHUTDOWN SHUTDOWN RETURN, SHUTDOWN, "<", SHUTDOWN, RETURN SHUTDOWN);
    struct qmp *qmp = opened();
    OK(qmp_call(qmp, "stop", NULL, NULL, LONG_MS, &unit_err));
    fake_end(&qmp);
}
END_TEST

START_TEST(refusals)
{
    static const struct {
        int code;
        const char *answer, *words;
    } cases[] = {
        { -EREMOTEIO, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Dirty bitmap 'b' not found\"}, \"id\": $}", "refused x: Dirty bitmap 'b' not found" },
        { -ENOENT, "{\"id\": $, \"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"Device 'd' not found\"}}", "Device 'd'" },
        { -ENOTSUP, "{\"id\": $, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command x has not been found\"}}", "The command x" },
        { -EREMOTEIO, "{\"id\": $, \"error\": {\"class\": 7, \"desc\": \"\\n line\"}}", "refused x: ? line" },
        { -EREMOTEIO, "{\"id\": $, \"error\": {}}", "it does not say why" },
    };
    json_t *result = NULL;
    SCRIPT(GREETING, "<", RETURN, "<", cases[_i].answer, "<", RETURN);
    struct qmp *qmp = opened();
    FAILS(cases[_i].code, qmp_call(qmp, "x", NULL, &result, LONG_MS, &unit_err));
    ck_assert_msg(strstr(unit_err.message, cases[_i].words) && strstr(unit_err.message, path), "%s", unit_err.message);
    ck_assert_ptr_null(result);
    OK(qmp_call(qmp, "y", NULL, NULL, LONG_MS, &unit_err));     /* the connection is as good as before */
    fake_end(&qmp);
}
END_TEST

START_TEST(transactions)
{
    SCRIPT(GREETING, "<", RETURN, "<", RETURN);
    struct qmp *qmp = opened();
    json_t *actions = json_array();
    qmp_action(actions, "a", json_pack("{s:s}", "name", "b"));
    qmp_action(actions, "c", json_object());
    OK(qmp_transaction(qmp, actions, LONG_MS, &unit_err));
    ck_assert_str_eq(command_text(1), "{\"arguments\":{\"actions\":[{\"data\":{\"name\":\"b\"},\"type\":\"a\"},{\"data\":{},\"type\":\"c\"}]},"
                                      "\"execute\":\"transaction\",\"id\":2}");
    /* None of it is sent when one of its names cannot be. */
    actions = json_array();
    qmp_action(actions, "a", json_pack("{s:s}", "name", "b"));
    qmp_action(actions, "a", json_pack("{s:s}", "name", "\xff"));
    FAILS(-EINVAL, qmp_transaction(qmp, actions, LONG_MS, &unit_err));
    ck_assert_uint_eq(json_array_size(fake.commands), 2);
    ck_assert(qmp_is_usable(qmp));
    fake_end(&qmp);
}
END_TEST

/* --------------------------------------------------------------- deadlines */

START_TEST(no_answer_in_time)
{
    SCRIPT(GREETING, "<", RETURN, "<", _i ? "{\"return\": {}, \"i" : "");
    struct qmp *qmp = opened();
    FAILS(-ETIMEDOUT, qmp_call(qmp, "x", NULL, NULL, SHORT_MS, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "x within 60 ms"));
    FAILS(-ECONNRESET, qmp_call(qmp, "x", NULL, NULL, LONG_MS, &unit_err));
    fake_end(&qmp);
}
END_TEST

START_TEST(events_without_an_end)
{
    SCRIPT(GREETING, "<", RETURN, "<", "@");
    struct qmp *qmp = opened();
    FAILS(-ETIMEDOUT, qmp_call(qmp, "x", NULL, NULL, SHORT_MS, &unit_err));
    fake_end(&qmp);
}
END_TEST

/* It does not read, and the command is longer than what a socket holds. */
START_TEST(nobody_reads)
{
    static char text[8 << 20];
    memset(text, 'a', sizeof text - 1);
    SCRIPT(GREETING, "<", RETURN, "-");
    struct qmp *qmp = opened();
    FAILS(-ETIMEDOUT, qmp_call(qmp, "x", json_pack("{s:s}", "a", text), NULL, SHORT_MS, &unit_err));
    fake_end(&qmp);
}
END_TEST

/* The monitor serves somebody else, and there is room in its queue, or none. */
START_TEST(another_client_is_served)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct qmp *qmp = NULL;
    int fds[16], n = 0;
    fake_listen(_i ? 0 : 8);
    strcpy(address.sun_path, path);
    while (_i && n < 16) {
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fds[n++], (struct sockaddr *)&address, sizeof address) < 0)
            break;
    }
    ck_assert(n < 16);
    FAILS(-ETIMEDOUT, qmp_open(path, SHORT_MS, &qmp, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "serves one at a time"));
    while (n)
        close(fds[--n]);
    close(fake.listener);
}
END_TEST

START_TEST(nobody_is_there)
{
    struct qmp *qmp = NULL;
    char text[300];
    snprintf(path, sizeof path, "%s/none", unit_dir);
    FAILS(-ECONNREFUSED, qmp_open(path, LONG_MS, &qmp, &unit_err));
    fake_listen(1);
    close(fake.listener);
    FAILS(-ECONNREFUSED, qmp_open(path, LONG_MS, &qmp, &unit_err));
    memset(text, 'p', sizeof text);
    text[108] = 0;
    FAILS(-EINVAL, qmp_open(text, LONG_MS, &qmp, &unit_err));
    text[107] = 0;
    FAILS(-ECONNREFUSED, qmp_open(text, LONG_MS, &qmp, &unit_err));
    qmp_close(&qmp);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "calls");
    tcase_add_test(tc, a_call_has_its_result);
    tcase_add_loop_test(tc, greetings, 0, 4);
    tcase_add_test(tc, events_are_left_out);
    tcase_add_loop_test(tc, refusals, 0, 5);
    tcase_add_test(tc, transactions);

    tc = unit_case(suite, "deadlines");
    tcase_add_loop_test(tc, no_answer_in_time, 0, 2);
    tcase_add_test(tc, events_without_an_end);
    tcase_add_test(tc, nobody_reads);
    tcase_add_loop_test(tc, another_client_is_served, 0, 2);
    tcase_add_test(tc, nobody_is_there);
}

UNIT_MAIN("qmp", add_cases)
