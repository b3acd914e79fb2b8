/* What the client of a lab trusts; see trust.h. */
#include "lab/trust.h"

#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"
#include "process/site_key.h"
#include "stream/local_ca.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { PEM_LIMIT = 16384, BUNDLE_LIMIT = 8 << 20 };

static const char bundle_path[] = "/etc/ssl/certs/ca-certificates.crt";
static const char browser_path[] = "/etc/chromium";

static enum err read_ca(const struct machine_setup *setup, struct buffer *pem, struct why *why)
{
    char path[PATH_MAX];
    struct site_key key;
    uint8_t secret[SITE_KEY_BYTES];
    snprintf(path, sizeof(path), "%s/secrets/site-key", setup->folder);
    enum err err = site_key_read(path, &key, why);
    if (err != OK)
        return err;
    site_key_derive(&key, LOCAL_CA_LABEL, secret);
    site_key_wipe(&key);
    err = local_ca_write(secret, setup->plan->site->name, pem, why);
    explicit_bzero(secret, sizeof(secret));
    return err;
}

static enum err write_bundle(const struct machine *machine, struct text pem, struct why *why)
{
    struct text system = T("");
    struct buffer bundle AUTO(buffer_done) = buffer_of(BUNDLE_LIMIT + PEM_LIMIT);
    bool is_read = sys_read_file(bundle_path, BUNDLE_LIMIT, &system, NULL) == OK;
    if (is_read)
        buffer_append(&bundle, system);
    buffer_append(&bundle, pem);
    if (is_read)
        memory_free((void *)system.data);
    return machine_write_file(machine, "ca-certificates.crt", buffer_text(&bundle), why);
}

/* The policy wants the bytes between PEM's first and last line. */
static enum err write_policy(const struct machine *machine, struct text pem, struct why *why)
{
    static const char *const folders[] = { "chromium", "chromium/policies",
                                           "chromium/policies/managed" };
    char path[PATH_MAX + 64];
    enum err err = OK;
    struct buffer policy AUTO(buffer_done) = buffer_of(2 * PEM_LIMIT);
    buffer_append(&policy, T("{\"CACertificates\":[\""));
    while (pem.data != NULL) {
        struct text line = text_next(&pem, '\n');
        if (!text_starts_with(line, T("-----")))
            buffer_append(&policy, line);
    }
    buffer_append(&policy, T("\"]}\n"));
    for (size_t i = 0; i < COUNT(folders) && err == OK; i++) {
        snprintf(path, sizeof(path), "%s/%s", machine->folder, folders[i]);
        err = sys_make_folder(path, 0755, (uid_t)-1, (gid_t)-1, why);
    }
    if (err == OK)
        err = machine_write_file(machine, "chromium/policies/managed/ca.json", buffer_text(&policy),
                                 why);
    return err;
}

enum err lab_trust_write(const struct machine_setup *setup, const struct machine *machine,
                         struct why *why)
{
    const struct site_tls *tls = &setup->plan->site->tls;
    struct buffer pem AUTO(buffer_done) = buffer_of(PEM_LIMIT);
    if (!tls->is_present || !tls->is_local)
        return OK;
    enum err err = read_ca(setup, &pem, why);
    if (err == OK)
        err = machine_write_file(machine, "ca.pem", buffer_text(&pem), why);
    if (err == OK)
        err = write_bundle(machine, buffer_text(&pem), why);
    if (err == OK)
        err = write_policy(machine, buffer_text(&pem), why);
    return err;
}

static void place(const struct machine *machine, const char *name, const char *target)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof(path), "%s/%s", machine->folder, name);
    if (access(path, F_OK) != 0 || access(target, F_OK) != 0)
        return; /* no such CA, or no such program */
    if (mount(path, target, NULL, MS_BIND, NULL) != 0)
        log_warn("lab", "the client will not trust the site's CA", STRING("file", target),
                 STRING("reason", strerror(errno)));
}

void lab_trust_place(const struct machine *machine)
{
    place(machine, "ca-certificates.crt", bundle_path);
    place(machine, "chromium", browser_path);
}
