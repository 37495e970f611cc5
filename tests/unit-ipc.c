// SPDX-License-Identifier: BSD-3-Clause
/* Claims of the paths of ipc sockets (net/ipc.h): who gets one, and what is never touched. */
#include <sched.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/ipc.h"
#include "net/socket.h"
#include "unit.h"

static char path[400], lock_path[410];
static int held = -1;

static void setup(void)
{
    unit_setup();
    snprintf(path, sizeof path, "%s/control", unit_dir);
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    ck_assert_uint_lt(strlen(path), 108);
    umask(077);
}

static bool is_there(const char *file)
{
    struct stat st;
    return lstat(file, &st) == 0;
}

/* A socket of whatever program. */
static int bind_socket(int type)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path) + 1);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (type == SOCK_STREAM)
        ck_assert_int_eq(listen(fd, 5), 0);
    return fd;
}

static bool is_heard(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path) + 1);
    bool heard = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return heard;
}

static void write_file(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "mine", 4), 4);
    close(fd);
}

static void ck_assert_written(const char *name)
{
    char text[8] = "";
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(read(fd, text, sizeof text), 4);
    ck_assert_str_eq(text, "mine");
    close(fd);
}

#define REFUSED(code, words)                                                            \
    do {                                                                                \
        FAILS(code, ipc_claim(path, &held, &unit_err));                                 \
        ck_assert_msg(strstr(unit_err.message, words), "'%s' is not in '%s'", words, unit_err.message); \
        ck_assert_int_eq(held, -1);                                                     \
    } while (0)

/* ------------------------------------------------------------------ claims */

START_TEST(test_one_holder)
{
    struct stat st;
    int second;
    OK(ipc_claim(path, &held, &unit_err));
    ck_assert_int_eq(lstat(lock_path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    FAILS(-EBUSY, ipc_claim(path, &second, &unit_err));
    ck_assert_int_eq(second, -1);
    ipc_release(path, &held);
    ck_assert_int_eq(held, -1);
    ck_assert(!is_there(lock_path));
    OK(ipc_claim(path, &held, &unit_err));
    ipc_release(path, &held);
    ipc_release(path, &held);       /* nothing is held: nothing happens */
}
END_TEST

/* libzmq's bind would unlink the socket of the first. */
START_TEST(test_zmq)
{
    char endpoint[420], bound[256];
    struct net net;
    void *socket;
    int second;
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    OK(net_start(&net, NULL, &unit_err));
    OK(net_socket(&net, ZMQ_REP, 10, 1000, &socket, &unit_err));
    OK(net_listen(&net, socket, "control", endpoint, bound, &unit_err));
    FAILS(-EBUSY, ipc_claim(path, &second, &unit_err));
    FAILS(-EBUSY, net_listen(&net, socket, "control", endpoint, bound, &unit_err));
    ck_assert(is_heard());
    net_close(&socket);
    net_stop(&net);
    ck_assert(!is_there(path));
    ck_assert(!is_there(lock_path));
}
END_TEST

START_TEST(test_stale)
{
    close(bind_socket(SOCK_STREAM));
    ck_assert(is_there(path));
    OK(ipc_claim(path, &held, &unit_err));
    ck_assert(!is_there(path));
    close(bind_socket(SOCK_STREAM));
    ipc_release(path, &held);
    ck_assert(!is_there(path));     /* what we left behind */
}
END_TEST

/* Killed: its files stay, its lock does not. */
START_TEST(test_dead_holder)
{
    pid_t pid = fork();
    if (!pid)
        _exit(ipc_claim(path, &held, NULL) || bind_socket(SOCK_STREAM) < 0);
    unit_reap(pid, 0);
    ck_assert(is_there(path) && is_there(lock_path));
    OK(ipc_claim(path, &held, &unit_err));
    ck_assert(!is_there(path));
    ipc_release(path, &held);
}
END_TEST

/* It knows nothing of our lock. */
START_TEST(test_living)
{
    int fd = bind_socket(SOCK_STREAM);
    REFUSED(-EBUSY, "listens");
    ck_assert(is_heard());
    ck_assert(!is_there(lock_path));
    close(fd);
    unlink(path);
    fd = bind_socket(SOCK_DGRAM);
    REFUSED(-EBUSY, "listens");
    ck_assert(is_there(path));
    close(fd);
    unlink(path);
    OK(ipc_claim(path, &held, &unit_err));
    fd = bind_socket(SOCK_STREAM);
    ipc_release(path, &held);
    ck_assert(is_heard());
    close(fd);
}
END_TEST

/* No descriptor is left to ask with: that is no answer. */
START_TEST(test_not_asked)
{
    struct rlimit limit, tight;
    close(bind_socket(SOCK_STREAM));
    int next = dup(0);
    close(next);
    getrlimit(RLIMIT_NOFILE, &limit);
    tight = (struct rlimit){ (rlim_t)next + 2, limit.rlim_max };      /* the directory, the lock */
    setrlimit(RLIMIT_NOFILE, &tight);
    FAILS(-EMFILE, ipc_claim(path, &held, &unit_err));
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert(is_there(path) && !is_there(lock_path));
}
END_TEST

/* ------------------------------------------------- what is not ours to touch */

START_TEST(test_not_a_socket)
{
    char other[410];
    snprintf(other, sizeof other, "%s/other", unit_dir);
    write_file(path);
    REFUSED(-EEXIST, "not a socket");
    ck_assert_written(path);
    ck_assert_int_eq(rename(path, other), 0);
    ck_assert_int_eq(symlink("other", path), 0);
    REFUSED(-EEXIST, "not a socket");
    ck_assert(is_there(path));
    ck_assert_written(other);
    unlink(path);
    mkdir(path, 0700);
    REFUSED(-EEXIST, "not a socket");
    ck_assert(is_there(path));
    ck_assert(!is_there(lock_path));
}
END_TEST

START_TEST(test_bad_lock)
{
    char other[410];
    snprintf(other, sizeof other, "%s/other", unit_dir);
    write_file(other);
    ck_assert_int_eq(symlink("other", lock_path), 0);
    REFUSED(-EPROTO, "symbolic link");
    unlink(lock_path);
    ck_assert_int_eq(link(other, lock_path), 0);
    REFUSED(-EPERM, "2 names");
    unlink(lock_path);
    write_file(lock_path);
    ck_assert_int_eq(chmod(lock_path, 0666), 0);
    REFUSED(-EPERM, "written by others");
    ck_assert_written(lock_path);
    ck_assert_written(other);
}
END_TEST

/* The lock file at the path is another's by now. */
START_TEST(test_release_leaves_others)
{
    OK(ipc_claim(path, &held, &unit_err));
    unlink(lock_path);
    write_file(lock_path);
    write_file(path);
    ipc_release(path, &held);
    ck_assert_written(lock_path);
    ck_assert_written(path);
}
END_TEST

START_TEST(test_other_user)
{
    if (geteuid() != 0) {
        puts("skipped: other users' sockets (needs root)");
        return;
    }
    close(bind_socket(SOCK_STREAM));
    ck_assert_int_eq(chown(path, 1, (gid_t)-1), 0);
    REFUSED(-EEXIST, "belongs to uid 1");
    ck_assert(is_there(path));
    unlink(path);
    ck_assert_int_eq(chown(unit_dir, 1, (gid_t)-1), 0);
    REFUSED(-EPERM, "belongs to uid 1");
    ck_assert(!is_there(lock_path));
}
END_TEST

START_TEST(test_directories)
{
    static const mode_t bad[] = { 0777, 01777 /* as /tmp */, 0770, 0702 };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(chmod(unit_dir, bad[i]), 0);
        REFUSED(-EPERM, "private");
        ck_assert(!is_there(lock_path));
    }
    ck_assert_int_eq(chmod(unit_dir, 0755), 0);
    OK(ipc_claim(path, &held, &unit_err));
    ipc_release(path, &held);
    snprintf(path, sizeof path, "%s/absent/control", unit_dir);
    REFUSED(-ENOENT, "directory");
}
END_TEST

START_TEST(test_names)
{
    static const char *const bad[] = { "", ".", "..", "/", "*", "a/", "a/.." };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(path, sizeof path, "%s", bad[i]);
        REFUSED(-EINVAL, "not the path");
    }
    snprintf(path, sizeof path, "@dirtyferry");
    REFUSED(-EPERM, "abstract");
    memset(path, 'x', 108);
    path[108] = 0;
    REFUSED(-EINVAL, "107");
    /* The longest there is, and one that is relative to where we are. */
    int n = snprintf(path, sizeof path, "%s/", unit_dir);
    memset(path + n, 'x', (size_t)(107 - n));
    path[107] = 0;
    close(bind_socket(SOCK_STREAM));
    OK(ipc_claim(path, &held, &unit_err));
    ipc_release(path, &held);
    ck_assert_int_eq(chdir(unit_dir), 0);
    snprintf(path, sizeof path, "control");
    OK(ipc_claim(path, &held, &unit_err));
    ck_assert(is_there(lock_path));
    ipc_release(path, &held);
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

/* ------------------------------------------------------------------- races */

/* Runs between the opening of a lock file and its locking. */
static void (*before_flock)(void);
int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);

int __wrap_flock(int fd, int operation)
{
    if (before_flock)
        before_flock();
    return __real_flock(fd, operation);
}

static void remove_lock(void)
{
    before_flock = NULL;
    unlink(lock_path);
}

/* Who held it removes it in between: what was opened is no lock any more. */
START_TEST(test_lock_removed)
{
    struct stat there, own;
    before_flock = remove_lock;
    OK(ipc_claim(path, &held, &unit_err));
    ck_assert_int_eq(stat(lock_path, &there), 0);
    ck_assert_int_eq(fstat(held, &own), 0);
    ck_assert_uint_eq(there.st_ino, own.st_ino);
    ipc_release(path, &held);
}
END_TEST

enum { PROCESSES = 4, HOLDS = 400 };

static void let_others_run(void)
{
    sched_yield();
}

static int hold_often(_Atomic int *holders)
{
    before_flock = let_others_run;
    for (int holds = 0; holds < HOLDS;) {
        if (ipc_claim(path, &held, NULL) < 0)
            continue;
        /* relaxed: only the count matters */
        if (atomic_fetch_add_explicit(holders, 1, memory_order_relaxed) != 0)
            return 1;
        let_others_run();
        atomic_fetch_sub_explicit(holders, 1, memory_order_relaxed);
        ipc_release(path, &held);
        holds++;
    }
    return 0;
}

/* Locks are removed and made anew all the time; there is never a second holder. */
START_TEST(test_race)
{
    pid_t pids[PROCESSES];
    _Atomic int *holders = mmap(NULL, sizeof *holders, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne((void *)holders, MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++)
        if (!(pids[i] = fork()))
            _exit(hold_often(holders));
    for (int i = 0; i < PROCESSES; i++)
        unit_reap(pids[i], 0);
    ck_assert(!is_there(lock_path));
    munmap((void *)holders, sizeof *holders);
}
END_TEST

static TCase *ipc_case(Suite *suite, const char *name)
{
    return unit_case_with(suite, name, setup, unit_teardown);
}

static void add_cases(Suite *suite)
{
    TCase *tc = ipc_case(suite, "claim");
    tcase_add_test(tc, test_one_holder);
    tcase_add_test(tc, test_zmq);
    tcase_add_test(tc, test_stale);
    tcase_add_test(tc, test_dead_holder);
    tcase_add_test(tc, test_living);
    tcase_add_test(tc, test_not_asked);
    tc = ipc_case(suite, "others");
    tcase_add_test(tc, test_not_a_socket);
    tcase_add_test(tc, test_bad_lock);
    tcase_add_test(tc, test_release_leaves_others);
    tcase_add_test(tc, test_other_user);
    tc = ipc_case(suite, "place");
    tcase_add_test(tc, test_directories);
    tcase_add_test(tc, test_names);
    tc = ipc_case(suite, "race");
    tcase_add_test(tc, test_lock_removed);
    tcase_add_test(tc, test_race);
}

UNIT_MAIN("ipc", add_cases)
