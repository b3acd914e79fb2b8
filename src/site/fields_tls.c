/*
 * The section tls: certificates, the redirect of what is not encrypted, HSTS.
 */
#include "site/field.h"

enum { CERTIFICATES_LIMIT = 64 };

static const char certificate_form[] =
    "local, or the files of one, like { chain: site.pem, key: site.key }, or a list of these";

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
    if (tls->is_local)
        return;
    if (node->kind == NODE_SCALAR && text_equal(node->value, T("acme"))) {
        mistakes_add(reading->mistakes, node->place, path,
                     "acme: this part of Trilith is not built yet (see the roadmap in README); "
                     "write local, or the files of a certificate");
        return;
    }
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

static const struct field rows[] = {
    { .name = "certificate",
      .kind = FIELD_OWN,
      .read = read_certificates,
      .fields = &certificate_fields,
      .is_required = true,
      .form = certificate_form,
      .schema = "{\"oneOf\":[{\"const\":\"local\"},%,{\"type\":\"array\",\"minItems\":1,"
                "\"items\":%}]}",
      .example = "local",
      .help = "`local`: by the site's own CA, for labs and intranets. Else files; of several, a "
              "client gets the first that covers the name it asks for." },
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
    LATER_ROW("inside", "Encryption between the servers of the site."),
};
const struct fields tls_fields = { rows, COUNT(rows) };

void finish_tls(struct reading *reading, const struct node *node, const struct path *path,
                void *section)
{
    struct site_tls *tls = section;
    struct path at = { path, T("hsts"), 0 };
    tls->is_present = true;
    tls->place = node->place;
    if (tls->hsts_s > 0 && !tls->redirect)
        mistakes_add(reading->mistakes, place_in(reading, "tls", "hsts", NULL), &at,
                     "needs `redirect: yes`: browsers that were told so never come without "
                     "encryption, others should not either");
}
