// SPDX-License-Identifier: BSD-3-Clause
/*
 * Certificates as files: who may own them, who may write them, and how they are
 * made.  keys.c has the text.
 *
 * A file is opened first and looked at then, so that what was looked at is what is
 * read.  O_NONBLOCK: a FIFO does not hold up the daemon.
 */
#include "net/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

static const char secret_suffix[] = "_secret";

struct text {
    size_t n;
    char bytes[KEY_FILE_BYTES + 1];     /* one more than allowed: longer is noticed */
};

static void text_forget(struct text **text)
{
    if (*text)
        explicit_bzero(*text, sizeof **text);
    free(steal(text));
}

static void pair_forget(struct key_pair *pair)
{
    keys_forget(pair);
}

bool key_name_is_secret(const char *name)
{
    size_t n = strlen(name), tail = sizeof secret_suffix - 1;
    return n >= tail && !strcmp(name + n - tail, secret_suffix);
}

int keys_check_access(const struct stat *st, mode_t forbidden, const char *what, const char *path, const char *so, struct df_error *err)
{
    if (!files_is_trusted(st))
        return error_set(err, -EPERM, "%s '%s' belongs to user %u: give it to root, or to the user who runs this", what, path, (unsigned)st->st_uid);
    if (st->st_mode & forbidden)
        return error_set(err, -EPERM, "%s '%s' has mode %04o, so others could %s: chmod %s", what, path, (unsigned)st->st_mode & 07777, so,
                         forbidden & S_IROTH ? "0600" : "go-w");
    return 0;
}

/* ------------------------------------------------------------- reading */

/* `forbidden` are the bits of the mode that others must not have. */
static int open_file(int dirfd, const char *name, const char *shown, mode_t forbidden, int *out, struct df_error *err)
{
    struct stat st;
    CLEANUP(cleanup_fd) int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ELOOP)
        return error_set(err, -ELOOP, "key file '%s' is a link: put the file itself there", shown);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, -errno, "cannot open key file '%s'", shown);
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "key file '%s' is not a regular file", shown);
    int r = keys_check_access(&st, forbidden, "key file", shown, "get at it", err);
    if (!r)
        *out = steal_fd(&fd);
    return r;
}

static int read_text(int fd, const char *shown, struct text **out, struct df_error *err)
{
    CLEANUP(text_forget) struct text *text = calloc(1, sizeof *text);
    if (!text)
        return error_errno(err, -ENOMEM, "cannot read key file '%s'", shown);
    for (ssize_t n = 1; n && text->n < sizeof text->bytes;) {
        n = read(fd, text->bytes + text->n, sizeof text->bytes - text->n);
        if (n < 0 && errno != EINTR)
            return error_errno(err, -errno, "cannot read key file '%s'", shown);
        if (n > 0)
            text->n += (size_t)n;
    }
    if (text->n > KEY_FILE_BYTES)
        return error_set(err, -EFBIG, "key file '%s' is too long: %u bytes are possible", shown, KEY_FILE_BYTES);
    *out = steal(&text);
    return 0;
}

static int read_keys(int fd, const char *shown, struct certificate *certificate, char secret[KEY_TEXT_BYTES], struct df_error *err)
{
    CLEANUP(text_forget) struct text *text = NULL;
    struct df_error why;
    int r = read_text(fd, shown, &text, err);
    if (r < 0)
        return r;
    r = keys_parse(text->bytes, text->n, certificate, secret, &why);
    return r < 0 ? error_set(err, r, "key file '%s' cannot be used: %s", shown, why.message) : 0;
}

int keys_read_certificate(int dirfd, const char *file, struct certificate *certificate, struct df_error *err)
{
    CLEANUP(pair_forget) struct key_pair pair = { 0 };
    struct certificate found;
    CLEANUP(cleanup_fd) int fd = -1;
    int r = open_file(dirfd, file, file, S_IWGRP | S_IWOTH, &fd, err);
    if (!r)
        r = read_keys(fd, file, &found, pair.secret_key, err);
    if (!r && *pair.secret_key)
        r = error_set(err, -EINVAL, "key file '%s' has a secret key in it: it is not for passing on, put the certificate without '%s' there", file, secret_suffix);
    if (!r)
        *certificate = found;
    return r;
}

/* ----------------------------------------------- the directory of a secret */

/*
 * The directory that a file is in, and the file's name there.  Who else can write
 * to it could put another file there.  `how` is O_RDONLY, or O_PATH where the right
 * to list it is not needed.
 */
static int open_folder(const char *file, int how, const char **name, int *out, struct df_error *err)
{
    char path[PATH_MAX];
    struct stat st;
    int r = files_split(file, path, sizeof path, name);
    if (r == -EINVAL)
        return error_set(err, r, "'%s' is not the name of a key file", file);
    if (r < 0)
        return error_errno(err, r, "cannot open the directory of key file '%.200s...'", file);
    CLEANUP(cleanup_fd) int fd = open(path, how | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, -errno, "cannot open the directory of key file '%s'", file);
    mode_t forbidden = st.st_mode & S_ISVTX ? 0 : S_IWGRP | S_IWOTH;
    r = keys_check_access(&st, forbidden, "the directory of key file", file, "replace the file", err);
    if (!r)
        *out = steal_fd(&fd);
    return r;
}

static int check_pair(const struct key_pair *pair, const char *file, struct df_error *err)
{
    char derived[KEY_TEXT_BYTES] = "";
    if (!*pair->secret_key)
        return error_set(err, -EINVAL, "key file '%s' has no secret key in it: name the file that ends in '%s'", file, secret_suffix);
    if (zmq_curve_public(derived, pair->secret_key) < 0)
        return error_errno(err, -errno, "cannot check the keys of '%s'", file);
    return strcmp(derived, pair->public_key) ? error_set(err, -EINVAL, "the public key in '%s' does not belong to the secret key there: make a pair by 'dirtyferry keygen'", file) : 0;
}

int keys_read_secret(const char *file, struct key_pair *pair, struct df_error *err)
{
    CLEANUP(pair_forget) struct key_pair found = { 0 };
    struct certificate certificate;
    CLEANUP(cleanup_fd) int dirfd = -1;
    CLEANUP(cleanup_fd) int fd = -1;
    const char *name;
    int r = open_folder(file, O_PATH, &name, &dirfd, err);
    if (!r)
        r = open_file(dirfd, name, file, S_IRWXG | S_IRWXO, &fd, err);
    if (!r)
        r = read_keys(fd, file, &certificate, found.secret_key, err);
    if (r < 0)
        return r;
    memcpy(found.public_key, certificate.public_key, sizeof found.public_key);
    r = check_pair(&found, file, err);
    if (!r)
        *pair = found;
    return r;
}

/* ------------------------------------------------------------- writing */

/* Everything of a file that keys_write makes. */
struct draft {
    char name[NAME_MAX + 1];    /* in the directory */
    const char *suffix;         /* for errors: behind the name that the caller gave */
    mode_t mode;
    char text[1024];
};

static void draft_forget(struct draft *draft)
{
    explicit_bzero(draft, sizeof *draft);
}

static int fill_file(int fd, const struct draft *draft)
{
    /* The umask shall have no say. */
    int r = fchmod(fd, draft->mode) < 0 ? -errno : files_pwrite(fd, draft->text, strlen(draft->text), 0);
    return r < 0 ? r : fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

static int write_file(int dirfd, const char *shown, const struct draft *draft, struct df_error *err)
{
    CLEANUP(cleanup_fd) int fd = openat(dirfd, draft->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return error_set(err, -EEXIST, "'%s%s' is there already, and a key is never overwritten: take another name", shown, draft->suffix);
    if (fd < 0)
        return error_errno(err, -errno, "cannot make '%s%s'", shown, draft->suffix);
    int r = fill_file(fd, draft);
    if (r < 0) {
        unlinkat(dirfd, draft->name, 0);
        return error_errno(err, r, "cannot write '%s%s'", shown, draft->suffix);
    }
    return 0;
}

static void draft_text(struct draft *draft, const char *comment, const struct key_pair *pair, unsigned roles, bool secret)
{
    char names[KEY_ROLES_BYTES];
    key_roles_format(roles, names);
    snprintf(draft->text, sizeof draft->text, "#   %s\n\nmetadata\n%s%s%scurve\n    public-key = \"%s\"\n%s%s%s", comment,
             *names ? "    roles = \"" : "", names, *names ? "\"\n" : "", pair->public_key,
             secret ? "    secret-key = \"" : "", secret ? pair->secret_key : "", secret ? "\"\n" : "");
}

/* Secret first: a certificate without it would be of no use. */
static int write_both(int dirfd, const char *shown, const struct draft *secret, const struct draft *certificate, struct df_error *err)
{
    int r = write_file(dirfd, shown, secret, err);
    if (r < 0)
        return r;
    r = write_file(dirfd, shown, certificate, err);
    if (r < 0) {
        unlinkat(dirfd, secret->name, 0);
        return r;
    }
    r = files_sync_directory(dirfd);
    if (r < 0) {
        unlinkat(dirfd, certificate->name, 0);
        unlinkat(dirfd, secret->name, 0);
        return error_errno(err, r, "cannot sync the directory of '%s'", shown);
    }
    return 0;
}

int keys_write(const char *name, const struct key_pair *pair, unsigned roles, struct df_error *err)
{
    CLEANUP(draft_forget) struct draft secret = { .suffix = secret_suffix, .mode = 0600 };
    struct draft certificate = { .suffix = "", .mode = 0644 };
    CLEANUP(cleanup_fd) int dirfd = -1;
    const char *base;
    int r = open_folder(name, O_RDONLY, &base, &dirfd, err);
    if (r < 0)
        return r;
    size_t n = strlen(base), tail = sizeof secret_suffix - 1;
    if (key_name_is_secret(base))
        return error_set(err, -EINVAL, "'%s' ends in '%s', which is the name of a secret: name the certificate", name, secret_suffix);
    if (n + tail > NAME_MAX)
        return error_set(err, -ENAMETOOLONG, "cannot make '%.200s...': its name has %zu bytes, %zu are possible", name, n, (size_t)NAME_MAX - tail);
    memcpy(certificate.name, base, n + 1);
    memcpy(secret.name, base, n);
    memcpy(secret.name + n, secret_suffix, tail + 1);
    draft_text(&certificate, "CURVE public certificate, for the allow directories of daemons that shall let this key in", pair, roles, false);
    draft_text(&secret, "CURVE SECRET certificate: do not pass this file on, nor let others read it", pair, roles, true);
    return write_both(dirfd, name, &secret, &certificate, err);
}
