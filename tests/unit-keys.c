// SPDX-License-Identifier: BSD-3-Clause
/* Keys, their text, their files: what is read, what is refused, and that no error tells a secret. */
#include <sys/resource.h>

#include <zmq.h>

#include "net/keys.h"
#include "unit-files.h"

/* The two pairs of zmq_curve(7). */
#define PUBLIC  "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define SECRET  "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
#define PUBLIC2 "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define ZEROES  "0000000000000000000000000000000000000000"

#define CURVE   "curve\n    public-key = \"" PUBLIC "\"\n"
#define BOTH    CURVE "    secret-key = \"" SECRET "\"\n"

static struct certificate certificate;
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

/* No eight characters of the secret in a row, wherever they come from. */
static void tells_no_secret(void)
{
    for (size_t i = 0; i + 8 < KEY_TEXT_BYTES; i++) {
        char part[9];
        snprintf(part, sizeof part, "%.8s", &SECRET[i]);
        ck_assert_msg(!strstr(unit_err.message, part), "the secret is in: %s", unit_err.message);
    }
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

/* As zcert_save() of czmq 4.2 and create_certificates() of pyzmq write them. */
static const char czmq_public[] =
    "#   ****  Generated on 2026-11-22 06:49:54 by CZMQ  ****\n"
    "#   ZeroMQ CURVE Public Certificate\n"
    "#   Exchange securely, or use a secure mechanism to verify the contents\n"
    "#   of this file after exchange. Store public certificates in your home\n"
    "#   directory, in the .curve subdirectory.\n"
    "\n"
    "metadata\n"
    "    email = \"ph@imatix.com\"\n"
    "    name = \"Pieter Hintjens\"\n"
    "    roles = \"monitor\"\n"
    "curve\n"
    "    public-key = \"" PUBLIC "\"\n";
static const char czmq_secret[] =
    "#   ****  Generated on 2026-11-22 06:49:54 by CZMQ  ****\n"
    "#   ZeroMQ CURVE **Secret** Certificate\n"
    "#   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions.\n"
    "\n"
    "metadata\n"
    "curve\n"
    "    public-key = \"" PUBLIC "\"\n"
    "    secret-key = \"" SECRET "\"\n";

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

/* --------------------------------------------------------------- files */

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
    TCase *tc = unit_case(suite, "keys");
    tcase_add_test(tc, keys_are_checked);
    tcase_add_test(tc, keys_are_made_and_forgotten);
    tcase_add_test(tc, roles_have_names);
    tc = unit_case(suite, "text");
    tcase_add_test(tc, texts_that_are_read);
    tcase_add_test(tc, texts_that_are_refused);
    tcase_add_test(tc, texts_have_limits);
    tcase_add_test(tc, damaged_texts);
    tc = unit_case(suite, "files");
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

UNIT_MAIN("keys", add_cases)
