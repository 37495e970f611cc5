// SPDX-License-Identifier: BSD-3-Clause
/* Certificates as files: what is read, what is refused, what is written, and that no error tells a secret. */
#include <sys/resource.h>

#include "unit-files.h"
#include "unit-keys.h"

/* ------------------------------------------------------------- reading */

static struct key_pair pair;

static void refused_secret(int code, const char *path, const char *why)
{
    struct key_pair before;
    memset(&pair, 'x', sizeof pair);
    before = pair;
    FAILS(code, keys_read_secret(path, &pair, &unit_err));
    ck_assert_msg(strstr(unit_err.message, why), "'%s' is not in: %s", why, unit_err.message);
    ck_assert_mem_eq(&pair, &before, sizeof pair);
    tells_no_secret();
}

static void refused_certificate(int code, const char *path, const char *why)
{
    struct certificate before;
    memset(&certificate, 'x', sizeof certificate);
    before = certificate;
    FAILS(code, keys_read_certificate(AT_FDCWD, path, &certificate, &unit_err));
    ck_assert_msg(strstr(unit_err.message, why), "'%s' is not in: %s", why, unit_err.message);
    ck_assert_mem_eq(&certificate, &before, sizeof certificate);
    tells_no_secret();
}

START_TEST(files_that_are_read)
{
    static const mode_t modes[] = { 0600, 0400, 0700 };
    const char *path = in_dir("k_secret");
    for (unsigned i = 0; i < 3; i++) {
        put_text(path, czmq_secret, modes[i]);
        OK(keys_read_secret(path, &pair, &unit_err));
        ck_assert_str_eq(pair.public_key, PUBLIC);
        ck_assert_str_eq(pair.secret_key, SECRET);
        unlink(path);       /* only root could write to one of mode 0400 again */
    }
    put_text(path, czmq_secret, 0600);
    put_text(in_dir("k"), czmq_public, 0644);
    OK(keys_read_certificate(AT_FDCWD, in_dir("k"), &certificate, &unit_err));
    ck_assert_str_eq(certificate.public_key, PUBLIC);
    int fd = open(unit_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OK(keys_read_certificate(fd, "k", &certificate, &unit_err));
    close(fd);
    /* A name without a directory is in this one. */
    ck_assert_int_eq(chdir(unit_dir), 0);
    OK(keys_read_secret("k_secret", &pair, &unit_err));
}
END_TEST

START_TEST(files_of_other_kinds)
{
    put_text(in_dir("real_secret"), czmq_secret, 0600);
    put_text(in_dir("real"), czmq_public, 0644);
    ck_assert_int_eq(symlink("real_secret", in_dir("link_secret")), 0);
    ck_assert_int_eq(symlink("real", in_dir("link")), 0);
    ck_assert_int_eq(mkfifo(in_dir("fifo"), 0600), 0);
    ck_assert_int_eq(mkdir(in_dir("folder"), 0700), 0);
    refused_secret(-ELOOP, in_dir("link_secret"), "is a link");
    refused_secret(-EINVAL, in_dir("fifo"), "not a regular file");
    refused_secret(-EINVAL, in_dir("folder"), "not a regular file");
    refused_secret(-EINVAL, "/dev/null", "not a regular file");
    refused_secret(-ENOENT, in_dir("none"), "cannot open");
    refused_secret(-ENOENT, in_dir("none/none"), "cannot open the directory");
    refused_secret(-EINVAL, "", "not the name of a key file");
    refused_secret(-EINVAL, in_dir("folder/"), "not the name of a key file");
    refused_secret(-EINVAL, in_dir("folder/.."), "not the name of a key file");
    refused_certificate(-ELOOP, in_dir("link"), "is a link");
    refused_certificate(-EINVAL, in_dir("fifo"), "not a regular file");
    refused_certificate(-EINVAL, in_dir("folder"), "not a regular file");
    refused_certificate(-ENOENT, in_dir("none"), "cannot open");
    char *path = calloc(1, 6000);
    memset(path, 'a', 5000);
    path[4999] = '/', path[5000] = 'k';
    refused_secret(-ENAMETOOLONG, path, "cannot open the directory");
    free(path);
}
END_TEST

START_TEST(files_that_others_can_touch)
{
    static const mode_t open_modes[] = { 0640, 0620, 0610, 0604, 0602, 0601, 0644, 0666 };
    const char *path = in_dir("k_secret"), *public = in_dir("k");
    char mode[16];
    for (unsigned i = 0; i < sizeof open_modes / sizeof *open_modes; i++) {
        put_text(path, czmq_secret, open_modes[i]);
        snprintf(mode, sizeof mode, "mode %04o", (unsigned)open_modes[i]);
        refused_secret(-EPERM, path, mode);
        ck_assert_ptr_nonnull(strstr(unit_err.message, "chmod 0600"));
    }
    put_text(public, czmq_public, 0664);
    refused_certificate(-EPERM, public, "chmod go-w");
    put_text(public, czmq_public, 0646);
    refused_certificate(-EPERM, public, "mode 0646");
    put_text(path, czmq_secret, 0600);
    put_text(public, czmq_public, 0644);
    if (give_away(path) && give_away(public)) {
        refused_secret(-EPERM, path, "belongs to user 65534");
        refused_certificate(-EPERM, public, "belongs to user 65534");
    }
}
END_TEST

START_TEST(directories_that_others_can_write)
{
    static const struct {
        mode_t mode;
        bool good;
    } modes[] = { { 0700, true }, { 0755, true }, { 0775, false }, { 0757, false }, { 0777, false }, { 01777, true }, { 01775, true }, { 0700, true } };
    const char *dir = in_dir("d"), *path = in_dir("d/k_secret");
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    put_text(path, czmq_secret, 0600);
    for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
        ck_assert_int_eq(chmod(dir, modes[i].mode), 0);
        if (modes[i].good)
            OK(keys_read_secret(path, &pair, &unit_err));
        else
            refused_secret(-EPERM, path, "others could replace the file");
    }
    if (give_away(dir))
        refused_secret(-EPERM, path, "the directory of key file");
}
END_TEST

START_TEST(contents_that_do_not_fit)
{
    const char *path = in_dir("k_secret"), *public = in_dir("k");
    put_text(path, czmq_public, 0600);
    refused_secret(-EINVAL, path, "no secret key in it");
    put_text(public, czmq_secret, 0600);
    refused_certificate(-EINVAL, public, "not for passing on");
    put_text(path, "curve\n    public-key = \"" PUBLIC2 "\"\n    secret-key = \"" SECRET "\"\n", 0600);
    refused_secret(-EINVAL, path, "does not belong to the secret key");
    put_text(path, BOTH "    secret-key = \"" SECRET "\"\n", 0600);
    refused_secret(-EINVAL, path, "second time");
    /* Cut off anywhere: only the last line end may be missing. */
    for (size_t n = 0; n < sizeof czmq_secret - 2; n++) {
        put_bytes(path, czmq_secret, n, 0600);
        refused_secret(-EINVAL, path, "key file");
    }
    put_bytes(path, czmq_secret, sizeof czmq_secret - 2, 0600);
    OK(keys_read_secret(path, &pair, &unit_err));
    static char bytes[1 << 20];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)unit_random();
    put_bytes(path, bytes, sizeof bytes, 0600);
    refused_secret(-EFBIG, path, "too long: 65536 bytes");
    refused_certificate(-EFBIG, path, "too long: 65536 bytes");
    memcpy(bytes, "\0\n", 2);       /* not a line that is too long as well */
    put_bytes(path, bytes, 4096, 0600);
    refused_secret(-EINVAL, path, "control character");
    refused_certificate(-EINVAL, path, "control character");
}
END_TEST

/* ------------------------------------------------------------- writing */

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    return st.st_mode & 07777;
}

START_TEST(written_files_are_read)
{
    static const mode_t masks[] = { 0, 022, 077, 0777 };
    static const unsigned roles[] = { 0, KEY_PEER, KEY_ORCHESTRATOR | KEY_MONITOR, KEY_ORCHESTRATOR | KEY_PEER | KEY_MONITOR };
    struct key_pair made, read;
    for (unsigned i = 0; i < 4; i++) {
        char name[16], with_suffix[32];
        snprintf(name, sizeof name, "k%u", i);
        snprintf(with_suffix, sizeof with_suffix, "%s_secret", name);
        OK(keys_generate(&made, &unit_err));
        mode_t before = umask(masks[i]);
        OK(keys_write(in_dir(name), &made, roles[i], &unit_err));
        umask(before);
        ck_assert_uint_eq(mode_of(in_dir(name)), 0644);
        ck_assert_uint_eq(mode_of(in_dir(with_suffix)), 0600);
        OK(keys_read_certificate(AT_FDCWD, in_dir(name), &certificate, &unit_err));
        ck_assert_str_eq(certificate.public_key, made.public_key);
        ck_assert_uint_eq(certificate.roles, roles[i]);
        OK(keys_read_secret(in_dir(with_suffix), &read, &unit_err));
        ck_assert_mem_eq(&read, &made, sizeof made);
    }
}
END_TEST

/* The first of two files is not left behind when the second cannot be made. */
START_TEST(nothing_is_overwritten)
{
    struct key_pair made;
    OK(keys_generate(&made, &unit_err));
    put_text(in_dir("a"), "mine", 0600);
    FAILS(-EEXIST, keys_write(in_dir("a"), &made, 0, &unit_err));
    ck_assert(!is_there(in_dir("a_secret")));
    put_text(in_dir("b_secret"), "mine", 0600);
    FAILS(-EEXIST, keys_write(in_dir("b"), &made, 0, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "b_secret' is there already"));
    ck_assert(!is_there(in_dir("b")));
    ck_assert_int_eq(symlink("elsewhere", in_dir("c_secret")), 0);
    FAILS(-EEXIST, keys_write(in_dir("c"), &made, 0, &unit_err));
    ck_assert_int_eq(symlink("elsewhere", in_dir("d")), 0);
    FAILS(-EEXIST, keys_write(in_dir("d"), &made, 0, &unit_err));
    ck_assert(!is_there(in_dir("d_secret")) && !is_there(in_dir("elsewhere")));
    char text[8] = { 0 };
    int fd = open(in_dir("a"), O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(read(fd, text, sizeof text), 4);
    close(fd);
    ck_assert_str_eq(text, "mine");
}
END_TEST

START_TEST(a_full_disk_leaves_nothing)
{
    struct key_pair made;
    struct rlimit limit;
    OK(keys_generate(&made, &unit_err));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    const struct rlimit small = { 100, limit.rlim_max };
    setrlimit(RLIMIT_FSIZE, &small);
    int r = keys_write(in_dir("k"), &made, 0, &unit_err);
    setrlimit(RLIMIT_FSIZE, &limit);
    ck_assert_int_eq(r, -EFBIG);
    ck_assert(!is_there(in_dir("k")) && !is_there(in_dir("k_secret")));
    ck_assert(!strstr(unit_err.message, made.secret_key));
}
END_TEST

START_TEST(names_that_are_refused)
{
    struct key_pair made;
    char name[300];
    OK(keys_generate(&made, &unit_err));
    FAILS(-EINVAL, keys_write("", &made, 0, &unit_err));
    FAILS(-EINVAL, keys_write(in_dir(""), &made, 0, &unit_err));
    FAILS(-EINVAL, keys_write(in_dir("."), &made, 0, &unit_err));
    FAILS(-EINVAL, keys_write(in_dir("k_secret"), &made, 0, &unit_err));
    ck_assert(!is_there(in_dir("k_secret")));
    FAILS(-ENOENT, keys_write(in_dir("none/k"), &made, 0, &unit_err));
    memset(name, 'n', sizeof name);
    name[249] = 0;
    FAILS(-ENAMETOOLONG, keys_write(in_dir(name), &made, 0, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "249 bytes, 248 are possible"));
    ck_assert(!is_there(in_dir(name)));
    name[248] = 0;
    OK(keys_write(in_dir(name), &made, 0, &unit_err));
    ck_assert_int_eq(mkdir(in_dir("d"), 0700), 0);
    ck_assert_int_eq(chmod(in_dir("d"), 0777), 0);
    FAILS(-EPERM, keys_write(in_dir("d/k"), &made, 0, &unit_err));
    ck_assert(!is_there(in_dir("d/k")) && !is_there(in_dir("d/k_secret")));
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "reading");
    tcase_add_test(tc, files_that_are_read);
    tcase_add_test(tc, files_of_other_kinds);
    tcase_add_test(tc, files_that_others_can_touch);
    tcase_add_test(tc, directories_that_others_can_write);
    tcase_add_test(tc, contents_that_do_not_fit);
    tc = unit_case(suite, "writing");
    tcase_add_test(tc, written_files_are_read);
    tcase_add_test(tc, nothing_is_overwritten);
    tcase_add_test(tc, a_full_disk_leaves_nothing);
    tcase_add_test(tc, names_that_are_refused);
}

UNIT_MAIN("keyfile", add_cases)
