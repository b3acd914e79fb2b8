/* What is told of certificates that are in use: their end, and the names that they are for. */
#include "stream/tls_private.h"
#include "stream/x509.h"

#include <arpa/inet.h>

/* Only what prints: the names of a certificate's file are shown on terminals. */
static void add_name(struct buffer *out, struct text name)
{
    if (out->len > 0)
        buffer_append(out, T(", "));
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        buffer_append_byte(out, (uint8_t)(c > ' ' && c <= '~' ? c : '?'));
    }
}

static void add_address(struct buffer *out, const ASN1_OCTET_STRING *octets)
{
    char ip[INET6_ADDRSTRLEN];
    int len = ASN1_STRING_length(octets);
    if ((len == 4 || len == 16) &&
        inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(octets), ip, sizeof(ip)))
        add_name(out, text_of(ip));
}

bool tls_context_demands(const struct tls_context *context)
{
    return (SSL_CTX_get_verify_mode(context->certificates[0].ssl) &
            SSL_VERIFY_FAIL_IF_NO_PEER_CERT) != 0;
}

size_t tls_context_count(const struct tls_context *context)
{
    return context->count;
}

void tls_context_facts(const struct tls_context *context, size_t number, struct tls_facts *out)
{
    X509 *leaf = context->certificates[number].leaf;
    *out = (struct tls_facts){ .expires_s = x509_time_s(X509_get0_notAfter(leaf)) };
    struct buffer names = { .data = out->names,
                            .capacity = sizeof(out->names) - 1,
                            .limit = sizeof(out->names) - 1 };
    GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && !names.failed; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        size_t before = names.len;
        if (name->type == GEN_DNS)
            add_name(&names, text_from((const char *)ASN1_STRING_get0_data(name->d.dNSName),
                                       (size_t)ASN1_STRING_length(name->d.dNSName)));
        else if (name->type == GEN_IPADD)
            add_address(&names, name->d.iPAddress);
        if (names.failed)
            names.len = before;
    }
    GENERAL_NAMES_free(all);
    out->names[names.len] = '\0';
}
