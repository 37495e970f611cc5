// SPDX-License-Identifier: BSD-3-Clause
/*
 * Without keys: where a daemon listens, whom it connects to, and what somebody
 * can say about himself who speaks to it, or to one with keys, byte by byte.
 */
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "unit-guard.h"

/* --------------------------------------------------------------- where */

START_TEST(local_endpoints)
{
    static const char *const local[] = {
        "ipc:///run/x", "ipc://@x", "ipc://*", "tcp://127.0.0.1:7440", "tcp://127.0.0.2:1", "tcp://127.255.255.255:*", "tcp://[::1]:7440",
    };
    static const char *const open[] = {
        "tcp://0.0.0.0:7440", "tcp://*:7440", "tcp://[::]:7440", "tcp://10.0.0.1:7440", "tcp://128.0.0.1:1", "tcp://27.0.0.1:1", "tcp://1270.0.0.1:1",
        "tcp://127.0.0.1.evil.org:7440", "tcp://127.0.0.evil.org:7440", "tcp://127.0.0.1", "tcp://127.1:7440", "tcp://localhost.evil.org:7440", "tcp://localhost", "tcp://localhost:7440", "tcp://evil.localhost:1",
        "tcp://[::ffff:127.0.0.1]:7440", "tcp://[::ffff:10.0.0.1]:1", "tcp://[::1].evil.org:1", "tcp://[::10]:1", "tcp://[fe80::1]:1", "tcp://lo:1", "tcp://:1", "",
    };
    for (unsigned i = 0; i < sizeof local / sizeof *local; i++)
        ck_assert_msg(net_is_local(local[i]), "%s", local[i]);
    for (unsigned i = 0; i < sizeof open / sizeof *open; i++)
        ck_assert_msg(!net_is_local(open[i]), "%s", open[i]);
}
END_TEST

static int listen_at(struct net *as, const char *endpoint)
{
    char bound[256];
    void *s;
    memset(&unit_err, 0, sizeof unit_err);
    ck_assert_int_eq(net_socket(as, ZMQ_PULL, 10, 1000, &s, &unit_err), 0);
    int r = net_listen(as, s, "data", endpoint, bound, &unit_err);
    net_close(&s);
    return r;
}

START_TEST(others_are_not_listened_for)
{
    static const char *const refused[] = { "tcp://0.0.0.0:*", "tcp://*:*", "tcp://[::]:*", "tcp://[::ffff:127.0.0.1]:*" };
    struct net as = net;
    for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
        ck_assert_int_eq(listen_at(&as, refused[i]), -EPERM);
        ck_assert_ptr_nonnull(strstr(unit_err.message, refused[i]));
        ck_assert_ptr_nonnull(strstr(unit_err.message, "--key"));
    }
    ck_assert_int_eq(listen_at(&as, "tcp://127.0.0.1:0;0.0.0.0:*"), -EINVAL);     /* libzmq listens on the second */
    ck_assert_int_eq(listen_at(&as, "tcp://127.0.0.1:*"), 0);
    as.insecure = true;
    ck_assert_int_eq(listen_at(&as, "tcp://0.0.0.0:*"), 0);
    as.insecure = false;
    as.secure = true;
    OK(keys_generate(&as.keys, &unit_err));
    ck_assert_int_eq(listen_at(&as, "tcp://0.0.0.0:*"), 0);
}
END_TEST

/* Keys on one side only: nothing is sent. */
START_TEST(both_sides_have_keys_or_none)
{
    struct net as = net;
    struct net_address with = { .endpoint = "tcp://127.0.0.1:1" }, without = with;
    struct key_pair keys;
    void *s;
    OK(keys_generate(&keys, &unit_err));
    strcpy(with.key, keys.public_key);
    OK(net_socket(&net, ZMQ_DEALER, 10, 1000, &s, &unit_err));
    FAILS(-EPERM, net_connect(&as, s, &with, &unit_err));
    as.secure = true;
    as.keys = keys;
    FAILS(-EPERM, net_connect(&as, s, &without, &unit_err));
    OK(net_connect(&as, s, &with, &unit_err));
    net_close(&s);
}
END_TEST

/* -------------------------------------------------------- byte by byte */

static int plain_connection(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", address.endpoint + strlen("ipc://"));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void put(int fd, const void *bytes, size_t n)
{
    ck_assert_int_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Of ZMTP 3.0 (RFC 23), with the mechanism NULL; the daemon's READY must be there before the first message goes. */
static void shake_hands(int fd, const uint8_t *ready, size_t n)
{
    uint8_t greeting[64] = { 0xff, [9] = 0x7f, [10] = 3, [12] = 'N', 'U', 'L', 'L' }, answer[256];
    put(fd, greeting, sizeof greeting);
    put(fd, ready, n);
    ck_assert_int_eq(recv(fd, greeting, sizeof greeting, MSG_WAITALL), sizeof greeting);
    ck_assert_int_eq(recv(fd, answer, 2, MSG_WAITALL), 2);
    ck_assert_int_eq(recv(fd, answer + 2, answer[1], MSG_WAITALL), answer[1]);
    ck_assert_mem_eq(answer + 2, "\5READY", 6);
}

static size_t add_property(uint8_t *at, const char *name, const char *value)
{
    size_t n = strlen(name), nvalue = strlen(value);
    at[0] = (uint8_t)n;
    memcpy(at + 1, name, n);
    memcpy(at + 1 + n, (const uint8_t[]){ 0, 0, 0, (uint8_t)nvalue }, 4);
    memcpy(at + 5 + n, value, nvalue);
    return 5 + n + nvalue;
}

/* What a client says about itself is taken for nobody's key. */
START_TEST(names_are_not_taken)
{
    uint8_t ready[200] = { 4, 0, 5, 'R', 'E', 'A', 'D', 'Y' }, body[200], head[4] = { 1, 0, 0 };
    size_t n = 8;
    n += add_property(ready + n, "Socket-Type", "DEALER");
    n += add_property(ready + n, "User-Id", "somebody\nelse");
    n += add_property(ready + n, "__fd", "0");
    n += add_property(ready + n, "Peer-Address", "192.0.2.1");
    ready[1] = (uint8_t)(n - 2);
    int fd = plain_connection();
    shake_hands(fd, ready, n);
    head[3] = (uint8_t)a_request(body, "disk-list", 7);
    put(fd, head, sizeof head);         /* an empty part and more; the second one, short */
    put(fd, body, head[3]);
    struct request *r = next_request();
    ck_assert_uint_eq(r->message->id, 7);
    ck_assert_str_eq(r->caller.key, "");
    ck_assert_str_eq(r->caller.name, "");
    ck_assert_str_ne(r->caller.address, "192.0.2.1");
    ck_assert_uint_eq(r->caller.roles, KEY_ALL);
    request_ok(&r);
    close(fd);
}
END_TEST

/* Versions of the protocol from before there were keys: hung up on, though nothing is wrong with them. */
START_TEST(old_protocols_stay_out)
{
    static const uint8_t version_1[] = { 1, 0, 1, 1 }, version_2[] = { 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, 5, 0, 0, 1, 0 };
    serve(1);
    for (unsigned version = 1; version <= 2; version++) {
        uint8_t bytes[300];     /* all at once: nobody hangs up in the middle of it.  No identity, an empty part, a request */
        size_t n = version == 1 ? sizeof version_1 : sizeof version_2;
        memcpy(bytes, version == 1 ? version_1 : version_2, n);
        size_t nbody = a_request(bytes + n + 2, "hello", 7);
        bytes[n] = version == 1 ? (uint8_t)(nbody + 1) : 0;
        bytes[n + 1] = version == 1 ? 0 : (uint8_t)nbody;
        int fd = plain_connection();
        put(fd, bytes, n + 2 + nbody);
        struct pollfd item = { .fd = fd, .events = POLLIN };
        char byte;
        ssize_t got = 1;
        while (got == 1 && poll(&item, 1, 20000) == 1)
            got = recv(fd, &byte, 1, 0);    /* its greeting; then the end, or a reset, for it has not read all */
        ck_assert_msg(got == 0 || (got < 0 && errno == ECONNRESET), "version %u is not hung up on", version);
        ck_assert_ptr_null(server_receive(server));
        close(fd);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = net_case(suite, "in the clear");
    tcase_add_test(tc, local_endpoints);
    tcase_add_test(tc, others_are_not_listened_for);
    tcase_add_test(tc, both_sides_have_keys_or_none);
    tcase_add_test(tc, names_are_not_taken);
    tc = keyed_case(suite, "with keys");
    tcase_add_test(tc, old_protocols_stay_out);
}

UNIT_MAIN("clear", add_cases)
