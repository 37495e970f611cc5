// SPDX-License-Identifier: BSD-3-Clause
/*
 * The QMP client, against a monitor in a thread that plays a script.
 *
 * A script is a list of texts: "<" reads a command, "*" sends more of a string
 * than anybody takes, "@" sends events, "-" neither reads nor sends, all three until
 * the client hangs up; anything else is sent, with the last command's id in place of "$".  At its end the
 * monitor waits until the client hangs up, or hangs up itself.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "qemu/qmp.h"
#include "unit.h"

#define LONG_MS 60000       /* does not run out */
#define SHORT_MS 60         /* runs out */

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 9, \"minor\": 2, \"major\": 7}}, \"capabilities\": [\"oob\"]}}\r\n"
#define RETURN "{\"return\": {}, \"id\": $}\r\n"
#define SHUTDOWN "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}\r\n"

static struct {
    pthread_t thread;
    int listener, fd;
    const char *const *script;
    bool hang_up;
    size_t cut;             /* hang up after that many bytes */
    size_t piece;           /* bytes a write, at most; 0: random */
    size_t sent;
    json_int_t id;
    json_t *commands;       /* what was read */
} fake;

static char path[400];

/* False when the client has hung up, or the cut is reached. */
static bool fake_send(const char *bytes, size_t nbytes)
{
    while (nbytes) {
        size_t n = fake.piece ? fake.piece : 1 + unit_below(9);
        n = n < nbytes ? n : nbytes;
        n = n < fake.cut ? n : fake.cut;
        ssize_t sent = send(fake.fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        fake.cut -= (size_t)sent;
        fake.sent += (size_t)sent;
        bytes += sent;
        nbytes -= (size_t)sent;
    }
    return true;
}

static bool fake_text(const char *text)
{
    for (const char *dollar; (dollar = strchr(text, '$')); text = dollar + 1) {
        char id[32];
        snprintf(id, sizeof id, "%" JSON_INTEGER_FORMAT, fake.id);
        if (!fake_send(text, (size_t)(dollar - text)) || !fake_send(id, strlen(id)))
            return false;
    }
    return fake_send(text, strlen(text));
}

static bool fake_read(void)
{
    char line[65536];
    size_t n = 0;
    do
        if (n == sizeof line || recv(fake.fd, line + n, 1, 0) != 1)
            return false;
    while (line[n++] != '\n');
    json_t *command = json_loadb(line, n, 0, NULL);
    ck_assert_ptr_nonnull(command);
    fake.id = json_integer_value(json_object_get(command, "id"));
    json_array_append_new(fake.commands, command);
    return true;
}

static void fake_flood(const char *begin, const char *more)
{
    static char block[65536];
    size_t used = 0;
    for (; used + strlen(more) < sizeof block; used += strlen(more))
        memcpy(block + used, more, strlen(more));
    fake.piece = sizeof block;
    for (bool on = fake_text(begin); on; on = fake_send(block, used))
        ;
}

static void *fake_run(void *opaque)
{
    (void)opaque;
    unit_state = unit_seed;
    char rest[256];
    bool on = true;
    fake.fd = accept(fake.listener, NULL, NULL);
    for (const char *const *step = fake.script; on && *step; step++) {
        if (!strcmp(*step, "<"))
            on = fake_read();
        else if (!strcmp(*step, "*"))
            fake_flood("{\"return\": \"", "[[[[{{{{aaaaaaaa");
        else if (!strcmp(*step, "@"))
            fake_flood("", SHUTDOWN);
        else if (!strcmp(*step, "-"))
            poll(&(struct pollfd){ .fd = fake.fd, .events = POLLRDHUP }, 1, -1);
        else
            on = fake_text(*step);
    }
    if (on && !fake.hang_up)
        while (recv(fake.fd, rest, sizeof rest, 0) > 0)
            ;
    close(fake.fd);
    return NULL;
}

static void fake_listen(int backlog)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(path, sizeof path, "%s/qmp", unit_dir);
    ck_assert_uint_lt(strlen(path), sizeof address.sun_path);
    strcpy(address.sun_path, path);
    unlink(path);
    fake.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fake.listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(fake.listener, backlog), 0);
}

static void fake_start(const char *const *script)
{
    fake.script = script;
    fake.hang_up = false;
    fake.id = 0;
    fake.cut = SIZE_MAX;
    fake.piece = 65536;
    fake.commands = json_array();
    fake_listen(4);
}

static void fake_go(void)
{
    ck_assert_int_eq(pthread_create(&fake.thread, NULL, fake_run, NULL), 0);
}

static void fake_end(struct qmp **qmp)
{
    qmp_close(qmp);
    ck_assert_ptr_null(*qmp);
    pthread_join(fake.thread, NULL);
    close(fake.listener);
    json_decref(fake.commands);
}

#define SCRIPT(...) fake_start((const char *const[]){ __VA_ARGS__, NULL })

static struct qmp *opened(void)
{
    struct qmp *qmp = NULL;
    fake_go();
    OK(qmp_open(path, LONG_MS, &qmp, &unit_err));
    ck_assert(qmp_is_usable(qmp));
    ck_assert_str_eq(qmp_socket(qmp), path);
    return qmp;
}

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

/* ---------------------------------------------------------- whatever comes */

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

    tc = unit_case(suite, "whatever comes");
    tcase_add_test(tc, random_streams);
    tcase_add_test(tc, hangs_up_at_every_byte);
    tcase_add_loop_test(tc, garbage, 0, 20);
    tcase_add_test(tc, nested_too_deep);
    tcase_add_test(tc, a_message_without_an_end);

    tc = unit_case(suite, "deadlines");
    tcase_add_loop_test(tc, no_answer_in_time, 0, 2);
    tcase_add_test(tc, events_without_an_end);
    tcase_add_test(tc, nobody_reads);
    tcase_add_loop_test(tc, another_client_is_served, 0, 2);
    tcase_add_test(tc, nobody_is_there);
}

UNIT_MAIN("qmp", add_cases)
