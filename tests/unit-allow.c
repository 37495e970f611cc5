// SPDX-License-Identifier: BSD-3-Clause
/*
 * The allow directory: who is let in, what a change of its files does to that, and
 * what the log says of it.  No test waits for time: an event of inotify is there
 * when the call that makes it has returned.
 */
#include "unit-allow.h"

/* ---------------------------------------------------------------- open */

START_TEST(keys_are_let_in)
{
    put("a", 1, "peer");
    put("b", 2, "monitor orchestrator");
    put("none", 3, "");
    ck_assert_int_eq(symlink("allow", in_dir("link")), 0);
    const char *ways[] = { dir, in_dir("link"), in_dir("allow/") };
    for (unsigned i = 0; i < 3; i++) {
        OK(allow_open(ways[i], &allow, &unit_err));
        may(1, KEY_PEER, "a");
        may(2, KEY_ORCHESTRATOR | KEY_MONITOR, "b");
        may(3, 0, "none");
        may(4, 0, "");
        ck_assert_uint_eq(allow_roles(allow, "", NULL), 0);
        ck_assert_uint_eq(allow_roles(allow, "much longer than the text of any key that there may ever be", NULL), 0);
        unchanged();
        allow_close(&allow);
    }
    ck_assert_uint_eq(logged("key 'b' ("), 3);
    ck_assert_uint_eq(logged("added: orchestrator monitor"), 3);
    ck_assert_uint_eq(logged("added: no role"), 3);
}
END_TEST

START_TEST(directories_that_are_refused)
{
    refused(-ENOENT, dir, "lets nobody in");
    put("none", 1, "");
    refused(-ENOENT, dir, "lets nobody in");
    put("a", 1, "peer");        /* behind which 'none' has the same key */
    ck_assert_int_eq(chmod(dir, 0775), 0);
    refused(-EPERM, dir, "mode 0775");
    ck_assert_int_eq(chmod(dir, 0757), 0);
    refused(-EPERM, dir, "mode 0757");
    ck_assert_int_eq(chmod(dir, 01777), 0);
    refused(-EPERM, dir, "mode 1777");
    ck_assert_int_eq(chmod(dir, 0755), 0);
    OK(allow_open(dir, &allow, &unit_err));
    allow_close(&allow);
    refused(-ENOENT, in_dir("nowhere"), "cannot open");
    refused(-ENOTDIR, in_allow("a"), "cannot open");
    if (give_away(dir))
        refused(-EPERM, dir, "belongs to user 65534");
}
END_TEST

/* Each has a key of its own, so that one which is taken by mistake is seen. */
START_TEST(files_that_are_not_taken)
{
    put("good", 1, "peer");
    put(".hidden", 2, "peer");
    put("backup~", 3, "peer");
    put("x_secret", 4, "peer");
    put("target", 5, "peer");
    ck_assert_int_eq(rename(in_allow("target"), in_dir("target")), 0);
    ck_assert_int_eq(symlink("../target", in_allow("link")), 0);
    ck_assert_int_eq(mkfifo(in_allow("fifo"), 0600), 0);
    ck_assert_int_eq(mkdir(in_allow("folder"), 0755), 0);
    put_text(in_allow("writable"), text_of(6, "peer"), 0666);
    put_text(in_allow("empty"), "", 0644);
    put_bytes(in_allow("binary"), "\0\1\2\3", 4, 0644);
    put_text(in_allow("role"), text_of(7, "god"), 0644);
    put("good-too", 1, "orchestrator");
    struct key_pair pair;
    OK(keys_generate(&pair, &unit_err));
    OK(keys_write(in_dir("pair"), &pair, KEY_PEER, &unit_err));
    ck_assert_int_eq(rename(in_dir("pair_secret"), in_allow("oops")), 0);
    put("foreign", 8, "peer");
    bool foreign = give_away(in_allow("foreign"));
    OK(allow_open(dir, &allow, &unit_err));
    may(1, KEY_PEER, "good");
    for (uint32_t i = 2; i <= 7; i++)
        may(i, 0, "");
    may(8, foreign ? 0 : KEY_PEER, foreign ? "" : "foreign");
    ck_assert_uint_eq(allow_roles(allow, pair.public_key, NULL), 0);
    static const char *const said[] = { "'link' is a link", "'fifo' is not a regular file", "'folder' is not a regular file", "'writable' has mode 0666",
                                        "'empty' cannot be used", "'binary' cannot be used", "'role' cannot be used", "'oops' has a secret key in it",
                                        "'good-too' has the same key as 'good'" };
    unchanged();
    put("more", 9, "peer");
    changed(0);
    for (unsigned i = 0; i < sizeof said / sizeof *said; i++)
        ck_assert_msg(logged(said[i]) == 1, "%u times in the log: %s", logged(said[i]), said[i]);
    ck_assert_uint_eq(logged("hidden") + logged("backup~") + logged("x_secret"), 0);
    ck_assert_uint_eq(logged(pair.secret_key), 0);
    /* Another reason is said, and a file that is good at last is taken. */
    put_text(in_allow("empty"), "curve\n", 0644);
    put_text(in_allow("writable"), text_of(6, "monitor"), 0644);
    ck_assert_int_eq(chmod(in_allow("writable"), 0644), 0);
    changed(0);
    may(6, KEY_MONITOR, "writable");
    take_away("good");
    changed(1);
    may(1, KEY_ORCHESTRATOR, "good-too");
}
END_TEST

START_TEST(there_is_a_limit)
{
    char name[16];
    for (uint32_t i = 0; i < ALLOW_KEYS + 2; i++) {
        snprintf(name, sizeof name, "k%05u", i);
        put_text(in_allow(name), text_of(i, "peer"), 0644);
    }
    OK(allow_open(dir, &allow, &unit_err));
    may(0, KEY_PEER, "k00000");
    may(ALLOW_KEYS - 1, KEY_PEER, "k04095");
    may(ALLOW_KEYS, 0, "");
    ck_assert_uint_eq(logged("'k04096' and what sorts behind it, 2 files, are too many: 4096 are possible"), 1);
    take_away("k00000");
    changed(1);
    may(0, 0, "");
    may(ALLOW_KEYS, KEY_PEER, "k04096");
}
END_TEST

/* A name of the file system is bytes; in a log it stays one line, and no half of a character. */
START_TEST(names_in_the_log)
{
    char name[ALLOW_NAME_BYTES + 2], shown[ALLOW_NAME_BYTES];
    put("new\nline\x1b", 1, "peer");
    put_text(in_allow("bad\nfile"), "", 0644);
    memset(name, 'x', sizeof name);
    memcpy(name + ALLOW_NAME_BYTES - 2, "\xc3\xab", 3);
    put(name, 2, "peer");
    snprintf(shown, sizeof shown, "%.*s", ALLOW_NAME_BYTES - 2, name);
    OK(allow_open(dir, &allow, &unit_err));
    may(1, KEY_PEER, "new?line?");
    may(2, KEY_PEER, shown);
    ck_assert_uint_eq(logged("key 'new?line?' ("), 1);
    ck_assert_uint_eq(logged("'bad?file' cannot be used"), 1);
    ck_assert_uint_eq(logged(""), 3);
}
END_TEST

/* ------------------------------------------------------- what changes it */

START_TEST(files_come_and_go)
{
    open_two();
    unchanged();
    put("c", 3, "peer monitor");
    changed(0);
    may(3, KEY_PEER | KEY_MONITOR, "c");
    take_away("b");
    changed(1);
    ck_assert_str_eq(last_gone, key(2));
    may(2, 0, "");
    put("a", 4, "peer");                            /* another key by the same name */
    changed(1);
    ck_assert_str_eq(last_gone, key(1));
    may(1, 0, "");
    may(4, KEY_PEER, "a");
    ck_assert_int_eq(rename(in_allow("a"), in_allow("z")), 0);
    changed(0);
    may(4, KEY_PEER, "z");
    ck_assert_int_eq(rename(in_allow("c"), in_dir("c")), 0);
    changed(1);
    may(3, 0, "");
    put_text(in_allow("w"), text_of(5, "peer"), 0644);     /* written in place */
    changed(0);
    may(5, KEY_PEER, "w");
    put_text(in_allow("w"), text_of(5, "peer"), 0644);     /* and once more the same */
    ck_assert(readable());
    unchanged();
    int fd = open(in_allow("w"), O_WRONLY | O_CLOEXEC);    /* another of the same length */
    ck_assert_int_gt(write(fd, text_of(6, "peer"), strlen(text_of(6, "peer"))), 0);
    ck_assert(!readable());                                /* whoever is writing may not have ended yet */
    close(fd);
    changed(1);
    may(6, KEY_PEER, "w");
    take_away("w");
    take_away("z");                                        /* nobody is left, which is fine now */
    changed(2);
    put("a", 1, "peer");
    changed(0);
    ck_assert_uint_eq(logged("key 'b' ("), 2);
    ck_assert_uint_eq(logged("removed: monitor"), 1);
    ck_assert_uint_eq(logged("key 'a' ("), 5);
    ck_assert_uint_eq(logged("is called 'z' now"), 1);
}
END_TEST

START_TEST(roles_come_and_go)
{
    open_two();
    put("a", 1, "peer monitor");
    changed(0);
    may(1, KEY_PEER | KEY_MONITOR, "a");
    ck_assert_uint_eq(logged("changed: peer monitor, before: peer"), 1);
    put("a", 1, "monitor orchestrator");            /* one lost, one gained */
    changed(1);
    ck_assert_str_eq(last_gone, key(1));
    put("a", 1, "");
    changed(1);
    may(1, 0, "a");
    ck_assert_uint_eq(logged("changed: no role, before: orchestrator monitor"), 1);
    ck_assert_int_eq(chmod(in_allow("b"), 0664), 0);
    changed(1);
    may(2, 0, "");
    ck_assert_uint_eq(logged("'b' has mode 0664"), 1);
    ck_assert_int_eq(chmod(in_allow("b"), 0640), 0);
    changed(0);
    may(2, KEY_MONITOR, "b");
    if (give_away(in_allow("b"))) {
        changed(1);
        may(2, 0, "");
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = quiet_case(suite, "open");
    tcase_add_test(tc, keys_are_let_in);
    tcase_add_test(tc, directories_that_are_refused);
    tcase_add_test(tc, files_that_are_not_taken);
    tcase_add_test(tc, there_is_a_limit);
    tcase_add_test(tc, names_in_the_log);
    tc = quiet_case(suite, "changes");
    tcase_add_test(tc, files_come_and_go);
    tcase_add_test(tc, roles_come_and_go);
}

UNIT_MAIN("allow", add_cases)
