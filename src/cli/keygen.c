// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry keygen: a CURVE key pair in two files.  No daemon is asked. */
#include "cli/cli.h"
#include "net/keys.h"

static void print_json(const char *file, const char *public_key, unsigned roles)
{
    json_t *list = json_array();
    char name[KEY_ROLES_BYTES];
    for (unsigned role = KEY_ORCHESTRATOR; role <= KEY_MONITOR; role <<= 1)
        if (roles & role)
            json_array_append_new(list, json_string(key_roles_format(role, name)));
    char secret[4096 + 8];
    snprintf(secret, sizeof secret, "%s_secret", file);
    cli_print_json(json_pack("{s:s, s:o, s:o, s:o}", "public_key", public_key, "certificate", cli_json_text(file), "secret", cli_json_text(secret), "roles", list));
}

static void print_text(const char *file, const char *public_key, unsigned roles)
{
    char names[KEY_ROLES_BYTES];
    printf("certificate  %s\nsecret       %s_secret\npublic key   %s\nroles        %s\n", file, file, public_key, roles ? key_roles_format(roles, names) : "-");
    printf("Keep %s_secret on this host, readable by its owner only, and copy %s into the allow directory of each daemon that shall let this key in%s.\n",
           file, file, roles ? "" : ", with a role in it");
}

int command_keygen(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "role", required_argument, NULL, 'r' }, { "help", no_argument, NULL, 'h' }, { 0 } };
    struct df_error err;
    unsigned roles = 0, more = 0;
    cli->usage = "Usage: dirtyferry [--json] keygen FILE [--role ROLE]...\n"
                 "Makes a CURVE key pair: FILE is the certificate, which is public, FILE_secret has\n"
                 "the secret key.  Neither may exist.\n"
                 "  --role ROLE   what the key may do where the certificate is let in: orchestrator\n"
                 "                (everything), peer (the source of moves), monitor (looks only);\n"
                 "                several, or a list with commas, are possible [none]\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 'r')
            return cli_option(cli, c);
        if (key_roles_parse(optarg, &more, &err) < 0)
            return cli_usage(cli, "--role: %s", err.message);
        if (!more)
            return cli_usage(cli, "--role names no role: orchestrator, peer or monitor");
        roles |= more;
    }
    int r = cli_arguments(cli, argc, 1, 1);
    if (r)
        return r;
    const char *file = argv[optind];
    struct key_pair pair;
    r = keys_generate(&pair, &cli->err);
    if (!r)
        r = keys_write(file, &pair, roles, &cli->err);
    explicit_bzero(pair.secret_key, sizeof pair.secret_key);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(file, pair.public_key, roles);
    else
        print_text(file, pair.public_key, roles);
    return 0;
}
