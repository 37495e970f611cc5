// SPDX-License-Identifier: BSD-3-Clause
/*
 * The allow directory: who is let in, what a change of any kind does to that, and
 * what the log says of it.  No test waits for time: an event of inotify is there
 * when the call that makes it has returned.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include <zmq.h>

#include "net/allow.h"
#include "unit-files.h"

static const char *dir;
static struct allow *allow;

/* ------------------------------------------------------------- helpers */

static void quiet_setup(void)
{
    static char path[700];
    unit_setup();
    snprintf(path, sizeof path, "%s/allow", unit_dir);
    dir = path;
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    log_to_file();
}

static void quiet_teardown(void)
{
    allow_close(&allow);
    unit_teardown();
}

/* A few of them may be used in one expression. */
static const char *key(uint32_t i)
{
    static char texts[4][KEY_TEXT_BYTES];
    static unsigned next;
    uint8_t bytes[32] = { 7 };
    memcpy(bytes + 4, &i, sizeof i);
    char *text = texts[next++ % 4];
    ck_assert_ptr_nonnull(zmq_z85_encode(text, bytes, sizeof bytes));
    return text;
}

static const char *in_allow(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "allow/%s", name);
    return in_dir(path);
}

static const char *text_of(uint32_t i, const char *roles)
{
    static char text[300];
    snprintf(text, sizeof text, "metadata\n    roles = \"%s\"\ncurve\n    public-key = \"%s\"\n", roles, key(i));
    return text;
}

/* By a rename, as one should. */
static void put(const char *name, uint32_t i, const char *roles)
{
    put_text(in_allow(".new"), text_of(i, roles), 0644);
    ck_assert_int_eq(rename(in_allow(".new"), in_allow(name)), 0);
}

static void take_away(const char *name)
{
    ck_assert_int_eq(unlink(in_allow(name)), 0);
}

static void may(uint32_t i, unsigned roles, const char *name)
{
    char got[ALLOW_NAME_BYTES] = "?";
    ck_assert_uint_eq(allow_roles(allow, key(i), got), roles);
    ck_assert_str_eq(got, name);
    ck_assert_uint_eq(allow_roles(allow, key(i), NULL), roles);
}

static unsigned ngone;
static char last_gone[KEY_TEXT_BYTES];

static void note_gone(void *opaque, const char *public_key)
{
    ck_assert_ptr_eq(opaque, &ngone);
    /* It may ask, and hears what is true now. */
    allow_roles(allow, public_key, NULL);
    snprintf(last_gone, sizeof last_gone, "%s", public_key);
    ngone++;
}

static bool readable(void)
{
    struct pollfd fd = { allow_fd(allow), POLLIN, 0 };
    ck_assert_int_ge(fd.fd, 0);
    return poll(&fd, 1, 0) == 1;
}

static bool refresh(void)
{
    ngone = 0;
    return allow_refresh(allow, note_gone, &ngone);
}

/* The directory says that something happened, and `n` keys lost something by it. */
static void changed(unsigned n)
{
    ck_assert_msg(readable(), "nothing happened in the directory");
    ck_assert(refresh());
    ck_assert_uint_eq(ngone, n);
    ck_assert(!readable());
}

static void unchanged(void)
{
    ck_assert(!refresh());
    ck_assert_uint_eq(ngone, 0);
}

static void refused(int code, const char *path, const char *why)
{
    FAILS(code, allow_open(path, &allow, &unit_err));
    ck_assert_msg(strstr(unit_err.message, why), "'%s' is not in: %s", why, unit_err.message);
    ck_assert_ptr_null(allow);
}

/* Two keys: 1 is a peer, 2 a monitor. */
static void open_two(void)
{
    put("a", 1, "peer");
    put("b", 2, "monitor");
    OK(allow_open(dir, &allow, &unit_err));
    ck_assert(!readable());
}

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

/* ------------------------------------------------- the directory itself */

static void vanished(unsigned n)
{
    ck_assert(readable());
    ck_assert(refresh());
    ck_assert_uint_eq(ngone, n);
    ck_assert_int_eq(allow_fd(allow), -1);
    may(1, 0, "");
    for (unsigned i = 0; i < 3; i++)
        unchanged();
}

static void came_back(void)
{
    ck_assert(refresh());
    ck_assert_uint_eq(ngone, 0);
    ck_assert(!readable());
}

START_TEST(directory_is_removed)
{
    open_two();
    unit_remove_tree(dir);
    vanished(2);
    ck_assert_uint_eq(logged("nobody is let in any more"), 1);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    put("a", 1, "peer");
    came_back();
    ck_assert_uint_eq(logged("can be read again"), 1);
    may(1, KEY_PEER, "a");
    may(2, 0, "");
    put("b", 2, "monitor");
    changed(0);
    may(2, KEY_MONITOR, "b");
}
END_TEST

/* The new one may have the inode's number of the old one. */
START_TEST(directory_is_removed_and_made_again)
{
    open_two();
    for (unsigned i = 0; i < 5; i++) {
        unit_remove_tree(dir);
        ck_assert_int_eq(mkdir(dir, 0755), 0);
        put("b", 2, "monitor");
        if (i == 0)
            changed(1);
        else
            unchanged();    /* it has what the one before had */
        may(1, 0, "");
        may(2, KEY_MONITOR, "b");
        put("a", 1, "peer");
        changed(0);
        may(1, KEY_PEER, "a");
        take_away("a");
        changed(1);
    }
}
END_TEST

START_TEST(directory_is_replaced)
{
    open_two();
    ck_assert_int_eq(rename(dir, in_dir("old")), 0);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    put("c", 3, "peer");
    changed(2);
    may(1, 0, "");
    may(3, KEY_PEER, "c");
    put_text(in_dir("old/d"), text_of(4, "peer"), 0644);
    ck_assert(!readable());
    put("d", 4, "monitor");
    changed(0);
    may(4, KEY_MONITOR, "d");
    ck_assert_int_eq(rename(dir, in_dir("new")), 0);
    vanished(2);
}
END_TEST

/* Of which inotify says nothing. */
START_TEST(link_to_the_directory_is_replaced)
{
    open_two();
    allow_close(&allow);
    ck_assert_int_eq(mkdir(in_dir("other"), 0755), 0);
    put_text(in_dir("other/c"), text_of(3, "peer"), 0644);
    ck_assert_int_eq(symlink("allow", in_dir("link")), 0);
    OK(allow_open(in_dir("link"), &allow, &unit_err));
    ck_assert_int_eq(symlink("other", in_dir("link2")), 0);
    ck_assert_int_eq(rename(in_dir("link2"), in_dir("link")), 0);
    ck_assert(refresh());
    ck_assert_uint_eq(ngone, 2);
    may(3, KEY_PEER, "c");
    put_text(in_dir("other/d"), text_of(4, "peer"), 0644);
    changed(0);
    may(4, KEY_PEER, "d");
}
END_TEST

START_TEST(directory_that_others_may_write)
{
    open_two();
    ck_assert_int_eq(chmod(dir, 0777), 0);
    vanished(2);
    ck_assert_uint_eq(logged("nobody is let in any more"), 1);
    ck_assert_int_eq(chmod(dir, 0755), 0);
    came_back();
    may(1, KEY_PEER, "a");
    if (give_away(dir)) {
        vanished(2);
        ck_assert_uint_eq(logged("belongs to user 65534"), 1);
    }
}
END_TEST

/* More than the kernel keeps: what came later is lost, and with it that the directory is another. */
START_TEST(events_are_lost)
{
    unsigned most = 0;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (!f || fscanf(f, "%u", &most) != 1 || most > 100000) {
        printf("not tried: the kernel keeps %u events, or does not say how many\n", most);
        return;
    }
    fclose(f);
    open_two();
    for (unsigned i = 0; i <= most / 2; i++) {
        chmod(in_allow("a"), 0644);
        chmod(in_allow("b"), 0644);
    }
    unit_remove_tree(dir);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    put("a", 1, "peer");
    changed(1);
    may(1, KEY_PEER, "a");
    put("c", 3, "peer");
    changed(0);
    may(3, KEY_PEER, "c");
}
END_TEST

/* ------------------------------------------------------------- threads */

static atomic_bool over;

/* Key 1 is always a peer; key 2 is a monitor by one name or an orchestrator by another, or not there, and never mixed. */
static void *ask(void *opaque)
{
    const char *first = ((const char **)opaque)[0], *second = ((const char **)opaque)[1];
    char name[ALLOW_NAME_BYTES];
    uintptr_t wrong = 0;
    /* relaxed: it says nothing about other memory */
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        wrong += allow_roles(allow, first, name) != KEY_PEER || strcmp(name, "a");
        unsigned roles = allow_roles(allow, second, name);
        wrong += strcmp(name, roles == KEY_MONITOR ? "b" : roles == KEY_ORCHESTRATOR ? "c" : roles ? "?" : "") != 0;
    }
    return (void *)wrong;
}

START_TEST(many_threads_ask)
{
    pthread_t threads[4];
    char first[KEY_TEXT_BYTES], second[KEY_TEXT_BYTES];
    const char *keys[] = { first, second };
    strcpy(first, key(1));
    strcpy(second, key(2));
    open_two();
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask, keys), 0);
    for (unsigned i = 0; i < 100; i++) {
        take_away("b");
        changed(1);
        put("c", 2, "orchestrator");
        changed(0);
        take_away("c");
        changed(1);
        put("b", 2, "monitor");
        changed(0);
    }
    atomic_store_explicit(&over, true, memory_order_relaxed);
    for (unsigned i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        ck_assert_uint_eq((uintptr_t)wrong, 0);
    }
}
END_TEST

static TCase *quiet_case(Suite *suite, const char *name)
{
    return unit_case_with(suite, name, quiet_setup, quiet_teardown);
}

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
    tc = quiet_case(suite, "directory");
    tcase_add_test(tc, directory_is_removed);
    tcase_add_test(tc, directory_is_removed_and_made_again);
    tcase_add_test(tc, directory_is_replaced);
    tcase_add_test(tc, link_to_the_directory_is_replaced);
    tcase_add_test(tc, directory_that_others_may_write);
    tcase_add_test(tc, events_are_lost);
    tc = quiet_case(suite, "threads");
    tcase_add_test(tc, many_threads_ask);
}

UNIT_MAIN("allow", add_cases)
