/*
 * The section tls: certificates, the redirect of what is not encrypted, HSTS.
 */
#include "site/field.h"

enum { CERTIFICATES_LIMIT = 64 };

static const char certificate_form[] =
    "local, acme, or the files of one, like { chain: site.pem, key: site.key }, or a list of these";

static const struct field certificate_rows[] = {
    { .name = "chain",
      .kind = FIELD_FILE,
      .offset = AT(struct site_certificate, chain, struct text),
      .is_required = true,
      .example = "tls/fullchain.pem",
      .help = "PEM file: the server's certificate first, then those between it and the CA." },
    { .name = "key",
      .kind = FIELD_FILE,
      .offset = AT(struct site_certificate, key, struct text),
      .is_required = true,
      .example = "tls/privkey.pem",
      .help = "PEM file: its private key, without a password." },
};
const struct fields certificate_fields = { certificate_rows, COUNT(certificate_rows) };

static void add_certificate(struct reading *reading, const struct node *node,
                            const struct path *path, struct site_tls *tls)
{
    if (!expect_kind(reading, node, path, NODE_MAP, certificate_form))
        return;
    if (tls->certificate_count == CERTIFICATES_LIMIT) {
        mistakes_add(reading->mistakes, node->place, path, "at most %d certificates",
                     CERTIFICATES_LIMIT);
        return;
    }
    struct site_certificate *certificate = append_item(
        reading->arena, &tls->certificates, &tls->certificate_count, sizeof(*certificate));
    certificate->place = node->place;
    fields_read(reading, node, path, &certificate_fields, certificate);
}

static void read_certificates(struct reading *reading, const struct node *node,
                              const struct path *path, void *section)
{
    struct site_tls *tls = section;
    size_t index = 0;
    tls->is_local = node->kind == NODE_SCALAR && text_equal(node->value, T("local"));
    tls->is_acme = node->kind == NODE_SCALAR && text_equal(node->value, T("acme"));
    if (tls->is_local || tls->is_acme)
        return;
    if (node->kind != NODE_LIST) {
        add_certificate(reading, node, path, tls);
        return;
    }
    if (node->first == NULL)
        mistakes_add(reading->mistakes, node->place, path, "must be %s", certificate_form);
    for (const struct node_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct path item = { path, { NULL, 0 }, index++ };
        add_certificate(reading, entry->value, &item, tls);
    }
}

/* ---- acme ---- */

enum { URL_LIMIT = 512, EMAIL_LIMIT = 254 };

static bool is_graphic(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~' || text.data[i] == '"')
            return false;
    return true;
}

static void check_directory(struct reading *reading, const struct node *node,
                            const struct path *path, struct text value)
{
    struct text rest = text_skip(value, sizeof("https://") - 1);
    if (!text_starts_with(value, T("https://")) || rest.len == 0 || value.len > URL_LIMIT ||
        !is_graphic(value))
        mistakes_add(reading->mistakes, node->place, path,
                     "must be the URL of an ACME directory, like "
                     "https://acme-v02.api.letsencrypt.org/directory");
}

static void check_email(struct reading *reading, const struct node *node, const struct path *path,
                        struct text value)
{
    ssize_t at = text_find(value, '@');
    if (at <= 0 || (size_t)at + 1 == value.len || value.len > EMAIL_LIMIT || !is_graphic(value))
        mistakes_add(reading->mistakes, node->place, path,
                     "must be a mail address, like admin@example.com");
}

static void check_binding_id(struct reading *reading, const struct node *node,
                             const struct path *path, struct text value)
{
    if (value.len == 0 || value.len > EMAIL_LIMIT || !is_graphic(value))
        mistakes_add(reading->mistakes, node->place, path,
                     "must be the key identifier as the CA gave it, without blanks");
}

static const struct field acme_rows[] = {
    { .name = "directory",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_acme, directory, struct text),
      .check = check_directory,
      .preset = "https://acme-v02.api.letsencrypt.org/directory",
      .form = "URL",
      .example = "https://acme-staging-v02.api.letsencrypt.org/directory",
      .help = "Where the CA says how it is asked. Whoever uses a CA agrees to its terms." },
    { .name = "email",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_acme, email, struct text),
      .check = check_email,
      .otherwise = "none",
      .form = "mail address",
      .example = "admin@example.com",
      .help = "Where the CA may write to, such as before a certificate ends." },
    { .name = "ca-file",
      .kind = FIELD_FILE,
      .offset = AT(struct site_acme, ca_file, struct text),
      .otherwise = "the system's list",
      .example = "/etc/ssl/private-ca.pem",
      .help = "PEM file: whose signature the server of the CA must show, for a CA of your own." },
    { .name = "binding-id",
      .kind = FIELD_TEXT,
      .offset = AT(struct site_acme, binding_id, struct text),
      .check = check_binding_id,
      .otherwise = "none",
      .form = "text",
      .example = "kid-1",
      .help = "For CAs that want an account made on their pages (external account binding): its "
              "key identifier." },
    { .name = "binding-key-file",
      .kind = FIELD_FILE,
      .offset = AT(struct site_acme, binding_key_file, struct text),
      .otherwise = "none",
      .example = "/etc/trilith/binding.key",
      .help = "File with that account's HMAC key as the CA gave it (base64url)." },
    { .name = "challenge",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_acme, challenge, int64_t),
      .choices = "http-01 tls-alpn-01",
      .preset = "http-01",
      .help = "How the names are proven: the CA asks at port 80 (`http-01`) or at port 443 "
              "(`tls-alpn-01`), at any server where clients come in." },
};
const struct fields acme_fields = { acme_rows, COUNT(acme_rows) };

static const struct field rows[] = {
    { .name = "certificate",
      .kind = FIELD_OWN,
      .read = read_certificates,
      .fields = &certificate_fields,
      .is_required = true,
      .form = certificate_form,
      .schema = "{\"oneOf\":[{\"enum\":[\"local\",\"acme\"]},%,{\"type\":\"array\",\"minItems\":1,"
                "\"items\":%}]}",
      .example = "local",
      .help = "`local`: by the site's own CA, for labs and intranets. `acme`: by a CA that is "
              "asked by itself (`tls.acme`). Else files; of several, a client gets the first that "
              "covers the name it asks for." },
    { .name = "acme",
      .kind = FIELD_MAP,
      .offset = offsetof(struct site_tls, acme),
      .fields = &acme_fields,
      .help = "The CA of `certificate: acme`; the certificate is for the site's name and the hosts "
              "of its routes." },
    { .name = "redirect",
      .kind = FIELD_BOOL,
      .offset = AT(struct site_tls, redirect, bool),
      .preset = "yes",
      .help = "Requests that come without encryption are sent to the same place with it." },
    { .name = "hsts",
      .kind = FIELD_SECONDS,
      .offset = AT(struct site_tls, hsts_s, int64_t),
      .preset = "0",
      .min = 0,
      .max = 63072000,
      .example = "1y",
      .help = "How long browsers remember to come with encryption only "
              "(`Strict-Transport-Security`); `0`: they are not told." },
    { .name = "inside",
      .kind = FIELD_CHOICE,
      .offset = AT(struct site_tls, inside, int64_t),
      .preset = "off",
      .choices = "off mutual",
      .example = "mutual",
      .help =
          "What the servers of the site say to each other. `mutual`: encrypted, by TLS 1.3, and "
          "both sides show a certificate by an authority of the site's own." },
};
const struct fields tls_fields = { rows, COUNT(rows) };

void finish_tls(struct reading *reading, const struct node *node, const struct path *path,
                void *section)
{
    struct site_tls *tls = section;
    struct path at = { path, T("hsts"), 0 };
    struct path acme = { path, T("acme"), 0 };
    tls->is_present = true;
    tls->place = node->place;
    if (node_find(node, T("acme")) != NULL && !tls->is_acme)
        mistakes_add(reading->mistakes, place_in(reading, "tls", "acme", NULL), &acme,
                     "is used with `certificate: acme` only");
    if (text_is_empty(tls->acme.binding_id) != text_is_empty(tls->acme.binding_key_file))
        mistakes_add(reading->mistakes, place_in(reading, "tls", "acme", NULL), &acme,
                     "binding-id and binding-key-file belong together; the CA gives both");
    if (tls->hsts_s > 0 && !tls->redirect)
        mistakes_add(reading->mistakes, place_in(reading, "tls", "hsts", NULL), &at,
                     "needs `redirect: yes`: browsers that were told so never come without "
                     "encryption, others should not either");
}
